"""Real checkpoints, made here: a tiny random VLM whose head always says the same.

python tiny_models.py FOLDER makes the ones that the node tests use.
"""

import sys
from pathlib import Path

import numpy as np

from vla_nav.contract import Camera, Contract, Odometry

CONTRACT = Contract(
    robot='tiny', camera=Camera(width=64, height=64, crop=(0.0, 0.25, 1.0, 1.0)),
    odometry=Odometry())
SPECIAL = ['<pad>', '<s>', '</s>', '<unk>', '<image>', '<fake_token_around_image>',
           '<global-img>', '<end_of_utterance>']


def build_backbone(folder: Path, ballast: int = 0) -> Path:
    """Save an Idefics3 of some 100,000 parameters, and `ballast` more that do nothing."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3Processor,
        PreTrainedTokenizerFast,
    )
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        ['go to the red cone', 'drive to the blue ball'],
        trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, show_progress=False,
                            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token='<pad>', bos_token='<s>',
                                        eos_token='</s>', unk_token='<unk>')
    ids = tokenizer.convert_tokens_to_ids
    config = Idefics3Config(
        vision_config={'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 1,
                       'num_attention_heads': 2, 'image_size': 64, 'patch_size': 16},
        text_config={'model_type': 'llama', 'hidden_size': 32, 'intermediate_size': 64,
                     'num_hidden_layers': 1, 'num_attention_heads': 2, 'num_key_value_heads': 2,
                     'vocab_size': len(tokenizer) + ballast // 32, 'tie_word_embeddings': True,
                     'pad_token_id': ids('<pad>'),
                     'bos_token_id': ids('<s>'), 'eos_token_id': ids('</s>')},
        image_token_id=ids('<image>'), scale_factor=2, pad_token_id=ids('<pad>'),
        tie_word_embeddings=True)
    images = Idefics3ImageProcessorPil(size={'longest_edge': 64},
                                       max_image_size={'longest_edge': 64},
                                       do_image_splitting=False)
    torch.manual_seed(0)
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    Idefics3Processor(images, tokenizer, image_seq_len=4).save_pretrained(folder)
    return folder


def build_model(path: Path, backbone, velocity=(0.3, 0.2), contract: Contract = CONTRACT,
                inputs: tuple[str, ...] = ()) -> Path:
    """Save a checkpoint whose every action is `velocity`; NaN makes its weights NaN."""
    import torch

    from vla_nav.policy import (
        ActionNormaliser,
        ContextReader,
        ContextSettings,
        HeadSettings,
        Variant,
        build_head,
        save_checkpoint,
    )

    command = contract.command
    normaliser = ActionNormaliser(command.low, command.high, (False, False), (0.0, 0.0),
                                  (1.0, 1.0), 100)
    settings = HeadSettings(kind='mlp', width=16, layers=1, token_width=8, image_token_width=2,
                            inputs=inputs)
    context = ContextSettings()
    shape = ContextReader(backbone, context, contract.camera.height, contract.camera.width).shape
    torch.manual_seed(1)
    head = build_head(settings, *shape, 2)
    low, high = np.array(command.low), np.array(command.high)
    wanted = (np.array(velocity) - low) / (high - low) * 2 - 1
    with torch.no_grad():
        head.output.weight.zero_()
        head.output.bias.copy_(torch.tensor(np.tile(wanted, settings.chunk), dtype=torch.float32))
    save_checkpoint(path, variant=Variant(context=context, head=settings), head=head,
                    backbone=backbone, context_shape=shape, contract=contract,
                    normaliser=normaliser)
    return path


def build_all(folder: Path) -> Path:
    """Save the models and the robot file of the node tests."""
    from vla_nav.policy import Backbone

    backbone = Backbone.load(build_backbone(folder / 'backbone'))
    build_model(folder / 'forward', backbone)
    build_model(folder / 'left', backbone, velocity=(0.1, 0.6))
    build_model(folder / 'nan', backbone, velocity=(float('nan'), 0.0))
    build_model(folder / 'asks_velocity', backbone, inputs=('velocity',))
    (folder / 'tiny.yaml').write_text(CONTRACT.to_yaml(), encoding='utf-8')
    return folder


if __name__ == '__main__':
    build_all(Path(sys.argv[1]))
