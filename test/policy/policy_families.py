"""Tiny random backbones of every family, tokenizers and processors too: no download."""

import numpy as np
import torch

SIZE = 64
"""Pixels on a side of every tiny backbone's images."""
SENTENCES = [
    'go to the red cone', 'drive to the blue ball', 'find the green box and stop',
    'head for the yellow cylinder on the left', 'move towards the purple cone',
]
IDEFICS = ('<image>', '<fake_token_around_image>', '<global-img>', '<end_of_utterance>', '<where>')
QWEN = ('<|vision_start|>', '<|image_pad|>', '<|vision_end|>', '<|video_pad|>')


def build_tokenizer(special, **options):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=['<pad>', '<s>', '</s>', '<unk>', *special],
        show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token='<pad>', bos_token='<s>', eos_token='</s>',
        unk_token='<unk>', **options,
    )


def text_config(tokenizer, model_type, **options):
    return {
        'model_type': model_type, 'hidden_size': 48, 'intermediate_size': 96,
        'num_hidden_layers': 2, 'num_attention_heads': 2, 'num_key_value_heads': 2,
        'head_dim': 24, 'vocab_size': len(tokenizer), 'pad_token_id': 0, 'bos_token_id': 1,
        'eos_token_id': 2, **options,
    }


def vision_config(model_type=None, **options):
    named = {'model_type': model_type} if model_type else {}
    return {
        'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2,
        'num_attention_heads': 2, 'image_size': SIZE, 'patch_size': 16, **named, **options,
    }


def write(kind, config, parts, folder):
    """Save a random model whose outputs visibly depend on its inputs, and its processors."""
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
    model.save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)
    return folder


def build_idefics3(folder, smolvlm=False):
    import transformers
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    name = 'SmolVLM' if smolvlm else 'Idefics3'
    tokenizer = build_tokenizer(IDEFICS)
    config = getattr(transformers, f'{name}Config')(
        vision_config=vision_config(), text_config=text_config(tokenizer, 'llama'),
        image_token_id=tokenizer.convert_tokens_to_ids('<image>'), scale_factor=2, pad_token_id=0,
    )
    edge = {'longest_edge': SIZE}
    kind = SmolVLMImageProcessorPil if smolvlm else Idefics3ImageProcessorPil
    images = kind(size=edge, max_image_size=edge)
    parts = [images, tokenizer]  # SmolVLM's processor asks for packages for video
    if not smolvlm:
        processor = transformers.Idefics3Processor(images, tokenizer, image_seq_len=4)
        parts = [processor]
    return write(getattr(transformers, f'{name}ForConditionalGeneration'), config, parts, folder)


def build_smolvlm(folder):
    return build_idefics3(folder, smolvlm=True)


def build_paligemma(folder):
    from transformers import (
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
    )
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = build_tokenizer(())
    images = SiglipImageProcessorPil(size={'height': SIZE, 'width': SIZE})
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(images, tokenizer)  # adds the image and location tokens
    config = PaliGemmaConfig(
        vision_config=vision_config('siglip_vision_model', vision_use_head=False),
        text_config=text_config(tokenizer, 'gemma'), projection_dim=48, hidden_size=48,
        image_token_index=tokenizer.convert_tokens_to_ids('<image>'), vocab_size=len(tokenizer),
    )
    return write(PaliGemmaForConditionalGeneration, config, [processor], folder)


def build_llava(folder):
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = build_tokenizer(('<image>',))
    images = SiglipImageProcessorPil(size={'height': SIZE, 'width': SIZE})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=16, vision_feature_select_strategy='full',
        image_token='<image>',
    )
    config = LlavaConfig(
        vision_config=vision_config('siglip_vision_model', vision_use_head=False),
        text_config=text_config(tokenizer, 'llama'), vision_feature_layer=-1,
        image_token_index=tokenizer.convert_tokens_to_ids('<image>'),
        vision_feature_select_strategy='full', image_seq_length=16,
    )
    return write(LlavaForConditionalGeneration, config, [processor], folder)


def build_qwen(folder, name, vision, rope):
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )

    tokenizer = build_tokenizer(QWEN)
    start, image, end, video = tokenizer.convert_tokens_to_ids(QWEN)
    config = getattr(transformers, f'{name}Config')(
        vision_config={
            'depth': 2, 'hidden_size': 32, 'intermediate_size': 64, 'num_heads': 2,
            'patch_size': 16, 'out_hidden_size': 48, **vision,
        },
        text_config=text_config(
            tokenizer, 'qwen3_vl_text' if '3' in name else 'qwen2_5_vl_text',
            rope_parameters={'rope_type': 'default', 'mrope_section': [4, 4, 4],
                             'rope_theta': 10000.0, **rope},
        ),
        image_token_id=image, video_token_id=video, vision_start_token_id=start,
        vision_end_token_id=end,
    )
    images = Qwen2VLImageProcessorPil(
        patch_size=16, size={'shortest_edge': 32 * 32, 'longest_edge': 1024 * 1024})
    kind = getattr(transformers, f'{name}ForConditionalGeneration')
    return write(kind, config, [images, tokenizer], folder)


def build_qwen2_5_vl(folder):
    return build_qwen(
        folder, 'Qwen2_5_VL', {'window_size': 64, 'fullatt_block_indexes': [1]}, {})


def build_qwen3_vl(folder):
    return build_qwen(
        folder, 'Qwen3VL', {'num_position_embeddings': 16, 'deepstack_visual_indexes': [0]},
        {'mrope_interleaved': True})


def build_kosmos2(folder):
    from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Processor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = build_tokenizer(())
    edge = {'height': SIZE, 'width': SIZE}
    images = CLIPImageProcessorPil(size={'shortest_edge': SIZE}, crop_size=edge)
    processor = Kosmos2Processor(images, tokenizer, 16)  # adds its tags and location tokens
    config = Kosmos2Config(
        vision_config=vision_config(),
        text_config={
            'vocab_size': len(tokenizer), 'embed_dim': 48, 'layers': 2, 'ffn_dim': 96,
            'attention_heads': 2, 'dropout': 0.0, 'attention_dropout': 0.0, 'pad_token_id': 0,
            'bos_token_id': 1, 'eos_token_id': 2,
        },
        latent_query_num=64,
    )
    return write(Kosmos2ForConditionalGeneration, config, [processor], folder)


def build_idefics(folder):
    from transformers import IdeficsConfig, IdeficsForVisionText2Text, IdeficsProcessor
    from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil

    tokenizer = build_tokenizer(IDEFICS)
    processor = IdeficsProcessor(IdeficsImageProcessorPil(image_size=SIZE), tokenizer)
    config = IdeficsConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=2, alpha_initializer='ones', cross_layer_interval=1,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, use_resampler=True,
        vision_config={'embed_dim': 32, 'image_size': SIZE, 'patch_size': 16,
                       'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 2},
        perceiver_config={'use_resampler': True, 'resampler_n_latents': 4, 'resampler_depth': 1,
                          'resampler_n_heads': 2, 'resampler_head_dim': 16},
    )
    return write(IdeficsForVisionText2Text, config, [processor], folder)


FAMILIES = {
    'idefics': build_idefics,
    'idefics3': build_idefics3,
    'kosmos2': build_kosmos2,
    'llava': build_llava,
    'paligemma': build_paligemma,
    'qwen2_5_vl': build_qwen2_5_vl,
    'qwen3_vl': build_qwen3_vl,
    'smolvlm': build_smolvlm,
}


def random_images(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(count)]
