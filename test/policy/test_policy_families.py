"""Every family of backbone: the same code reads, tunes, saves and loads all of them."""

import numpy as np
import pytest
import torch
from policy_families import FAMILIES, random_images

from vla_nav.contract import Frame
from vla_nav.policy import (
    ActionNormaliser,
    Backbone,
    ContextReader,
    ContextSettings,
    HeadSettings,
    LoraSettings,
    Policy,
    PolicyModel,
    TokenSettings,
    Tuning,
    Variant,
    choose_token_ids,
    language_loss,
    make_head,
    save_checkpoint,
)
from vla_nav.policy.action_tokens import generate_ids
from vla_nav.training.precision import set_formats

WORDS = ['go to the red cone', 'go', 'head for the yellow cylinder on the left']
LAST = ContextSettings(pooling='last')
SMALL = {'width': 16, 'layers': 1, 'chunk': 3}
each_family = pytest.mark.parametrize('family', sorted(FAMILIES))


@pytest.fixture
def load(family_folder):
    return lambda family: Backbone.load(family_folder(family))


def model_of(backbone, decode, tune='head', **head):
    torch.manual_seed(0)
    kinds = {'head': ('mlp', 'huber'), 'chunk_oft': ('residual', 'l1'),
             'tokens': ('none', 'cross_entropy')}
    kind, loss = kinds[decode]
    ids = choose_token_ids(backbone.tokenizer, 16, WORDS)
    variant = Variant(
        tune=tune, decode=decode, loss=loss, context=LAST,
        head=HeadSettings(kind=kind, **SMALL, **head), tokens=TokenSettings(16, ids),
    )
    head = make_head(backbone, variant, 64, 64, 2)
    return PolicyModel(backbone, variant, head, 64, 64)


def batch_of(rows=3, steps=1):
    images = random_images(rows * steps)
    words = [WORDS[i % 3] for i in range(rows) for _ in range(steps)]
    targets = torch.rand(rows, steps, 3, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return images, words, targets, torch.ones(rows, steps, 3)


@each_family
@torch.inference_mode()
def test_context_depends_on_image_and_instruction(load, family):
    reader = ContextReader(load(family), LAST, 64, 64)
    images = random_images(3)
    contexts = reader(images, WORDS)
    alone = torch.cat([reader([i], [w]) for i, w in zip(images, WORDS)])
    torch.testing.assert_close(contexts, alone, atol=2e-5, rtol=1e-4)
    same_image = reader(images[:1] * 2, WORDS[:2])
    same_words = reader(images[:2], WORDS[:1] * 2)
    for pair in (same_image, same_words):
        assert (pair[0] - pair[1]).norm() > 0.05 * pair[0].norm()


@each_family
def test_lora_reaches_every_linear_layer(load, family):
    backbone = load(family)
    linear = {n for n, m in backbone.model.named_modules() if isinstance(m, torch.nn.Linear)}
    tuning = Tuning(backbone, 'lora')
    adapted = {n for n, m in backbone.model.named_modules() if hasattr(m, 'lora_A')}
    head = backbone.model.get_output_embeddings()
    assert linear - adapted == {n for n, m in backbone.model.named_modules() if m is head} & linear
    assert any('vision' in n or 'visual' in n for n in adapted)
    assert {id(p) for p in tuning.parameters()} == {
        id(p) for n, p in backbone.model.named_parameters() if 'lora_' in n}


@pytest.mark.parametrize('tune', ['head', 'lora', 'connector', 'vision', 'full'])
@each_family
def test_a_step_moves_what_is_tuned_and_nothing_else(load, family, tune):
    backbone = load(family)
    model = model_of(backbone, 'head', tune)
    tuning = Tuning(backbone, tune)
    before = {n: p.detach().clone() for n, p in backbone.model.named_parameters()}
    optimizer = torch.optim.SGD([*tuning.parameters(), *model.head.parameters()], 0.1)
    model(*batch_of()).backward()
    optimizer.step()
    trained = set(tuning.state())
    moved = {n for n, p in backbone.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved <= trained
    assert bool(moved) == (tune != 'head')


@pytest.mark.parametrize('decode', ['head', 'chunk_oft', 'tokens'])
@each_family
def test_training_lowers_the_loss(load, family, decode):
    backbone = load(family)
    model = model_of(backbone, decode, 'full')
    tuning = Tuning(backbone, 'full')
    optimizer = torch.optim.Adam([*tuning.parameters(), *model.head.parameters()], 1e-3)
    losses = []
    for _ in range(6):
        loss = model(*batch_of())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize('decode', ['chunk_oft', 'tokens'])
@each_family
def test_a_batch_decides_as_its_rows_alone(load, family, decode):
    backbone = load(family)
    model = model_of(backbone, decode).eval()
    images = random_images(3)

    def decide(rows):
        batch = model.tokens([WORDS[r] for r in rows])
        batch |= backbone.pixels([images[r] for r in rows])
        return model.decide(batch, model.head.initial_state(len(rows)))[0]

    together = decide([0, 1, 2])
    alone = torch.cat([decide([0]), decide([1]), decide([2])])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)
    if decode == 'chunk_oft':  # a random model may well say one word to everything
        assert not torch.allclose(together[0], together[1])


@each_family
@torch.no_grad()
def test_tokens_do_not_see_the_answer(load, family):
    """Teacher forcing: the loss on the first action does not change with the later ones."""
    model = model_of(load(family), 'tokens')
    images, words, targets, mask = batch_of()
    mask[:, :, 1:] = 0
    changed = targets.clone()
    changed[:, :, 1:] *= -1
    torch.testing.assert_close(
        model(images, words, targets, mask), model(images, words, changed, mask))


@each_family
@torch.no_grad()
def test_placeholders_see_each_other_both_ways(load, family):
    """A change in the last placeholder reaches the first; the prompt sees none of them."""
    backbone = load(family)
    model = model_of(backbone, 'chunk_oft')
    reader = model.reader
    batch = reader.tokens(WORDS[:1]) | backbone.pixels(random_images(1))
    plain = reader.soft(batch, None)
    layers = backbone.hidden_states(batch, soft=plain).layers
    vectors = torch.zeros(1, 6, backbone.width)
    vectors[:, -1] = 3 * torch.randn(backbone.width, generator=torch.Generator().manual_seed(0))
    plain.embeddings = vectors
    changed = backbone.hidden_states(batch, soft=plain).layers
    first, prompt = plain.positions[0, 0], slice(0, int(plain.positions[0, 0]))
    assert not torch.allclose(layers[-1][0, first], changed[-1][0, first], atol=1e-3)
    torch.testing.assert_close(layers[-1][0, prompt], changed[-1][0, prompt])


@pytest.mark.parametrize('decode, tune', [
    ('head', 'lora'), ('chunk_oft', 'connector'), ('tokens', 'vision'), ('tokens', 'full'),
])
@each_family
def test_round_trip(load, family, decode, tune, tmp_path, contract, normaliser):
    backbone = load(family)
    model = model_of(backbone, decode, tune)
    tuning = Tuning(backbone, tune)
    with torch.no_grad():
        for parameter in tuning.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    policy = Policy(backbone, model.head, model.variant, normaliser, contract)
    frame = Frame(random_images(1)[0], 5)
    policy.reset(WORDS[0])
    expected, context = policy.step(frame).actions, policy.context(frame)
    save_checkpoint(
        tmp_path / 'saved', variant=model.variant, head=model.head, backbone=backbone,
        context_shape=policy.reader.shape, contract=contract, normaliser=normaliser,
        tuning=tuning,
    )
    for text in tmp_path.rglob('*.json'):
        assert str(tmp_path.parent.parent) not in text.read_text(), f'{text} names this machine'
    loaded = Policy.load(tmp_path / 'saved')
    loaded.reset(WORDS[0])
    np.testing.assert_allclose(loaded.context(frame), context, atol=1e-4, rtol=1e-3)
    np.testing.assert_allclose(loaded.step(frame).actions, expected, atol=1e-4)
    assert not any('lora' in n for n, _ in loaded.backbone.model.named_parameters())


@each_family
def test_a_state_token_tells_the_model_its_speed(load, family, contract):
    backbone = load(family)
    normaliser = ActionNormaliser((0.0, -1.0), (0.5, 1.0), (False, False), (0, 0), (1, 1), 2)
    frame = Frame(random_images(1)[0], 0)
    for decode in ('head', 'chunk_oft', 'tokens'):
        model = model_of(backbone, decode, state_token=True)
        policy = Policy(backbone, model.head, model.variant, normaliser, contract)
        assert policy.needs_velocity
        policy.reset('go')
        slow = policy.context(frame, np.zeros(2))
        assert not np.allclose(slow, policy.context(frame, np.ones(2)), atol=1e-3)
        assert policy.step(frame, np.zeros(2)).actions.shape == (3, 2)


def test_gradient_checkpointing_gives_the_same_gradients(load):
    """Blocks run again in the backward pass, and must find the placeholders as before."""
    gradients = []
    for checkpointing in (False, True):
        backbone = load('idefics3')
        model = model_of(backbone, 'chunk_oft', 'full', film=True)
        tuning = Tuning(backbone, 'full')
        torch.nn.init.normal_(model.head.film.layers[0].weight, std=0.1)
        if checkpointing:
            backbone.model.train()
            backbone.model.gradient_checkpointing_enable({'use_reentrant': False})
        model(*batch_of()).backward()
        gradients.append([p.grad for p in tuning.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 20
    for plain, again in zip(*gradients):
        torch.testing.assert_close(plain, again)


@pytest.mark.parametrize('family', ['idefics3', 'qwen3_vl'])
def test_film_lets_the_sentence_reach_the_vision_encoder(load, family, tmp_path, contract):
    backbone = load(family)
    model = model_of(backbone, 'chunk_oft', film=True)
    seen = []
    vision = backbone.model.base_model.visual if 'qwen' in family else (
        backbone.model.base_model.vision_model)
    blocks = vision.blocks if 'qwen' in family else vision.encoder.layers
    blocks[-1].register_forward_hook(lambda m, a, output: seen.append(output))
    for std in (0.0, 0.1):
        torch.nn.init.normal_(model.head.film.layers[-1].weight, std=std)
        model.context(random_images(1) * 2, WORDS[:2])
        first, second = seen[-1].reshape(2, -1)
        assert torch.allclose(first, second, atol=1e-5) == (std == 0)
    normaliser = ActionNormaliser((0.0, -1.0), (0.5, 1.0), (False, False), (0, 0), (1, 1), 2)
    save_checkpoint(
        tmp_path / 'saved', variant=model.variant, head=model.head, backbone=backbone,
        context_shape=model.reader.shape, contract=contract, normaliser=normaliser,
    )
    frame = Frame(random_images(1)[0], 5)
    loaded = Policy.load(tmp_path / 'saved')
    loaded.reset(WORDS[0])
    expected = model.context([frame.image], WORDS[:1])[0].detach().numpy()
    np.testing.assert_allclose(loaded.context(frame), expected, atol=1e-4)


@pytest.mark.parametrize('words', [(), (70, 90, 80)])
@each_family
def test_the_adapter_is_what_plain_peft_reads(load, family_folder, tmp_path, family, words):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    from vla_nav.policy.tune import load_tuned

    backbone = load(family)
    tuning = Tuning(backbone, 'lora', LoraSettings(tokens=True), words)
    for parameter in tuning.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    batch = backbone.inputs(random_images(1), WORDS[:1])
    with torch.no_grad():
        expected = backbone.model(**batch).logits
    tuning.save(tmp_path)
    base = AutoModelForImageTextToText.from_pretrained(family_folder(family))
    with torch.no_grad():
        plain = base(**batch).logits
        adapted = PeftModel.from_pretrained(base, tmp_path / 'adapter')(**batch).logits
    torch.testing.assert_close(adapted, expected)
    assert not torch.allclose(adapted, plain)
    loaded = load(family)
    load_tuned(loaded, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(**batch).logits, expected, atol=1e-4, rtol=1e-4)


@each_family
def test_of_the_embeddings_only_those_of_action_tokens_train(load, family, tmp_path):
    from vla_nav.policy.tune import load_tuned

    backbone = load(family)
    model = model_of(backbone, 'tokens', 'lora')
    words = model.variant.tokens.ids
    tuning = Tuning(backbone, 'lora', LoraSettings(tokens=True), words)
    optimizer = torch.optim.SGD(tuning.parameters(), 0.1)
    model(*batch_of()).backward()
    optimizer.step()
    tuning.save(tmp_path)
    before, after = load(family).model, load(family)
    load_tuned(after, tmp_path)
    for name in ('get_input_embeddings', 'get_output_embeddings'):
        old, new = (getattr(m, name)().weight for m in (before, after.model))
        moved = (old != new).any(1).nonzero().flatten().tolist()
        assert set(moved) <= set(words)
        assert len(moved) > 5, name


def test_weights_of_another_backbone_are_refused(load, family_folder, tmp_path):
    from vla_nav.policy import CheckpointError
    from vla_nav.policy.tune import load_tuned

    backbone = load('idefics3')
    for name in 'ab':
        (tmp_path / name).mkdir()
    Tuning(backbone, 'connector').save(tmp_path / 'a')
    Tuning(load('llava'), 'lora').save(tmp_path / 'b')
    with pytest.raises(CheckpointError, match='trained on another backbone'):
        load_tuned(load('llava'), tmp_path / 'a')
    with pytest.raises(CheckpointError, match='not an adapter of this backbone'):
        load_tuned(backbone, tmp_path / 'b')


@each_family
def test_that_action_tokens_were_never_said_before_does_not_count(load, family):
    backbone = load(family)
    model = model_of(backbone, 'tokens', 'full')
    Tuning(backbone, 'full')
    others = torch.ones(backbone.model.get_output_embeddings().weight.shape[0])
    others[list(model.variant.tokens.ids)] = 0
    expected = model(*batch_of())
    expected.backward()
    before = [p.grad for p in backbone.model.parameters()]
    backbone.model.zero_grad()
    backbone.model.get_output_embeddings().register_forward_hook(
        lambda module, inputs, logits: logits + 25 * others)
    loss = model(*batch_of())
    loss.backward()
    torch.testing.assert_close(loss, expected)
    for old, parameter in zip(before, backbone.model.parameters()):
        torch.testing.assert_close(old, parameter.grad)


@each_family
def test_captions_are_learned_beside_actions(load, family):
    """The vision-language half of co-fine-tuning; a row's loss is its own, padded or not."""
    backbone = load(family)
    Tuning(backbone, 'full')
    images, prompts = random_images(2), ['{image}what is there?', '{image}where?']
    answers = ['a red cone', 'left of the blue ball and the green box']
    with torch.no_grad():
        both = language_loss(backbone, images, prompts, answers)
        each = [language_loss(backbone, [i], [p], [a])
                for i, p, a in zip(images, prompts, answers)]
        tokens = [len(backbone.tokenizer(a, add_special_tokens=False)['input_ids']) + 1
                  for a in answers]
    mean = sum(e * n for e, n in zip(each, tokens)) / sum(tokens)
    torch.testing.assert_close(both, mean, atol=1e-4, rtol=1e-4)
    optimizer = torch.optim.Adam(backbone.model.parameters(), 1e-3)
    for _ in range(4):
        loss = language_loss(backbone, images, prompts, answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.9 * both


@each_family
@pytest.mark.parametrize('tune', ['head', 'connector', 'vision', 'full', 'lora'])
def test_it_trains_in_bfloat16(family_folder, family, tune):
    """Whichever part trains, and so stays in float32."""
    if family == 'kosmos2' and tune in ('connector', 'vision'):
        pytest.skip('a CPU has no LayerNorm with weights in bfloat16 for inputs in float32')
    narrow = tune in ('head', 'lora')
    backbone = Backbone.load(family_folder(family), dtype='bfloat16' if narrow else 'float32')
    model = model_of(backbone, 'head', tune)
    tuning = Tuning(backbone, tune, LoraSettings(rank=2))
    set_formats(backbone, True)
    with torch.autocast('cpu', torch.bfloat16):
        loss = model(*batch_of())
    loss.float().backward()
    assert torch.isfinite(loss)
    assert all(p.dtype == torch.float32 for p in tuning.parameters())
    assert any(p.grad is not None and p.grad.any()
               for p in (*tuning.parameters(), *model.head.parameters()))


@torch.inference_mode()
def test_action_tokens_are_the_likeliest_whatever_a_checkpoint_says_of_generation(load):
    backbone = load('qwen2_5_vl')
    allowed = choose_token_ids(backbone.tokenizer, 16, WORDS)
    image, = random_images(1)
    batch = {**backbone.tokens(['{image}go'], 64, 64), **backbone.pixels([image])}
    ids = generate_ids(backbone, batch, allowed, 16)
    own = backbone.model.generation_config
    own.update(do_sample=True, temperature=5.0, no_repeat_ngram_size=1)
    for _ in range(3):
        assert torch.equal(generate_ids(backbone, batch, allowed, 16), ids)
    assert backbone.model.generation_config is own
