"""Tiny random backbones, built here with their tokenizers and processors: no download."""

import numpy as np
import pytest
import torch

SENTENCES = [
    'go to the red cone', 'drive to the blue ball', 'find the green box and stop',
    'head for the yellow cylinder on the left', 'move towards the purple cone',
]
SPECIAL = [
    '<pad>', '<s>', '</s>', '<unk>', '<image>', '<fake_token_around_image>', '<global-img>',
    '<end_of_utterance>', '<where>',
]


def build_tokenizer(special=tuple(SPECIAL), **options):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(special), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token='<pad>', bos_token='<s>', eos_token='</s>',
        unk_token='<unk>', **options,
    )


def build_idefics3(folder, size=64):
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3Processor,
    )
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )

    tokenizer = build_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    config = Idefics3Config(
        vision_config={
            'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2,
            'num_attention_heads': 2, 'image_size': size, 'patch_size': 16,
        },
        text_config={
            'model_type': 'llama', 'hidden_size': 48, 'intermediate_size': 96,
            'num_hidden_layers': 2, 'num_attention_heads': 2, 'num_key_value_heads': 2,
            'vocab_size': len(tokenizer), 'pad_token_id': ids('<pad>'),
            'bos_token_id': ids('<s>'), 'eos_token_id': ids('</s>'),
        },
        image_token_id=ids('<image>'), scale_factor=2, pad_token_id=ids('<pad>'),
    )
    images = Idefics3ImageProcessorPil(
        size={'longest_edge': size}, max_image_size={'longest_edge': size},
        do_image_splitting=False,
    )
    processor = Idefics3Processor(images, tokenizer, image_seq_len=(size // 32) ** 2)
    return save(Idefics3ForConditionalGeneration, config, processor, folder)


def save(kind, config, processor, folder):
    """Make a random model whose outputs visibly depend on its inputs, and save all of it."""
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0, fan_in ** -0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope='session')
def idefics3_folder(tmp_path_factory):
    return build_idefics3(tmp_path_factory.mktemp('idefics3'))


@pytest.fixture(scope='session')
def backbone(idefics3_folder):
    from vla_nav.policy import Backbone

    return Backbone.load(idefics3_folder)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def images(rng):
    return [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]


@pytest.fixture(scope='session')
def contract():
    from vla_nav.contract import Camera, Contract

    return Contract(camera=Camera(width=64, height=64))


@pytest.fixture(scope='session')
def normaliser(contract):
    from vla_nav.policy import ActionNormaliser

    actions = np.random.default_rng(0).uniform((0.0, -0.8), (0.4, 0.8), (500, 2))
    return ActionNormaliser.fit(actions, contract.command.low, contract.command.high)


@pytest.fixture(scope='session')
def make_policy(backbone, contract, normaliser):
    """Return a maker of policies over the tiny backbone, with a random head."""
    from vla_nav.policy import (
        ContextReader,
        ContextSettings,
        HeadSettings,
        Policy,
        Variant,
        build_head,
    )

    def make(context=None, **head_settings):
        settings = HeadSettings(**{'width': 32, 'layers': 1, 'token_width': 16, **head_settings})
        variant = Variant(context=context or ContextSettings(), head=settings)
        shape = ContextReader(backbone, variant.context, 64, 64).shape
        torch.manual_seed(1)
        head = build_head(settings, *shape, 2)
        return Policy(backbone, head, variant, normaliser, contract, 'tiny')

    return make


@pytest.fixture(scope='session')
def save_policy():
    """Return a function that writes a policy to a folder."""
    from vla_nav.policy import save_checkpoint

    def save(policy, folder, **options):
        return save_checkpoint(
            folder, variant=policy.variant, head=policy.head, backbone=policy.backbone,
            context_shape=policy.reader.shape, contract=policy.contract,
            normaliser=policy.normaliser, **options,
        )

    return save


@pytest.fixture(scope='session')
def checkpoint_folder(make_policy, save_policy, tmp_path_factory):
    folder = tmp_path_factory.mktemp('models') / 'tiny'
    save_policy(make_policy(), folder, provenance={'seed': 3, 'measured': {'success': 0.5}})
    return folder


@pytest.fixture
def checkpoint_copy(checkpoint_folder, tmp_path):
    """A checkpoint that a test may damage."""
    import shutil

    return shutil.copytree(checkpoint_folder, tmp_path / 'models' / 'tiny')


@pytest.fixture
def frames(images):
    from vla_nav.contract import Frame

    return [Frame(image, 1000 * i) for i, image in enumerate(images)]
