"""Whatever the camera does: zero in time, the reason on /diagnostics, and on with resume."""

import time

import pytest
from harness import PERIOD_NS, STALE_NS, Image, messages

SECOND_NS = 1_000_000_000


def assert_drives_again(world):
    """After the cause is gone, resume is enough, and nothing less."""
    world.make_image = world.good_image
    time.sleep(0.5)
    assert not world.moving and world.state['state'] == 'FAULT'
    assert world.call('resume').success
    world.wait_state('DRIVING')
    world.wait(lambda: world.moving, 'a velocity')


def fault(world, make_image, reason):
    world.make_image = make_image
    world.assert_stands('FAULT', reason)
    world.assert_stopped_in_time(world.image_stamp_ns)
    assert world.level == b'\x02'
    assert_drives_again(world)


def test_it_stops(world):
    fault(world, None, 'camera stale: no new image on')


def truncated(world):
    message = world.good_image()
    message.data = message.data[:1000]
    return message


def empty(world):
    message = Image(encoding='rgb8')
    message.header.stamp = world.good_image().header.stamp
    return message


def huge(world):
    message = world.good_image()
    message.width = message.height = message.step = 2**31
    return message


def larger_than_any_camera(world):
    message = world.good_image()
    message.width, message.height, message.step = 8192, 8192, 3 * 8192
    return message


@pytest.mark.parametrize(('make', 'reason'), [
    (lambda world: world.good_image(encoding='rgb7'), "encoding 'rgb7' is not known"),
    (truncated, 'has step 192 and 1000 bytes; expected at least'),
    (empty, 'image is 0x0 pixels'),
    (huge, 'at most 64000000 are accepted'),
    (larger_than_any_camera, 'image is 8192x8192 pixels; at most 64000000 are accepted'),
    (lambda world: world.good_image(stamp_ns=0), 'its stamp is zero'),
    (lambda world: world.good_image(stamp_ns=world.now_ns() + 5 * SECOND_NS),
     'in the future; synchronise'),
    (lambda world: world.good_image(stamp_ns=world.now_ns() - 60 * SECOND_NS),
     'its stamp went back'),
], ids=['encoding', 'truncated', 'empty', 'huge', 'too large', 'zero stamp', 'future',
        'backwards'])
def test_useless_images(world, make, reason):
    fault(world, lambda: make(world), reason)


def test_it_hangs_with_the_same_stamp(world):
    message = world.good_image()

    def again():
        world.image_stamp_ns = messages.nanoseconds(message.header.stamp)
        return message

    fault(world, again, 'its stamp is the one before; the camera hangs')


def test_it_hangs_with_new_stamps(world):
    pixels = world.good_image()
    since_ns = messages.nanoseconds(pixels.header.stamp)

    def same_pixels():
        pixels.header.stamp = world.good_image().header.stamp
        return pixels

    world.make_image = same_pixels
    world.assert_stands('FAULT', 'camera frozen: images on')
    world.assert_stopped_in_time(since_ns)
    assert_drives_again(world)


def test_its_rate_drops_to_1_hz(world):
    sent_ns = []

    def note_stamp():
        message = world.good_image()
        sent_ns.append(messages.nanoseconds(message.header.stamp))
        return message

    world.make_image = note_stamp
    world.camera_hz = 1.0
    world.assert_stands('FAULT', 'camera stale')
    for stamp_ns, *speed in world.commands:
        if any(speed) and stamp_ns > sent_ns[0]:
            newest_ns = max(sent for sent in sent_ns if sent <= stamp_ns)
            assert stamp_ns - newest_ns <= STALE_NS + PERIOD_NS
    world.camera_hz = 20.0
    assert_drives_again(world)


def test_its_images_come_late(world):
    def late():
        return world.good_image(stamp_ns=world.now_ns() - 2 * SECOND_NS)

    world.make_image = None
    world.wait_state('FAULT')
    time.sleep(1.2)
    world.make_image = late
    assert world.call('resume').success
    world.assert_stands('WAITING', 's old by its stamp')
    world.make_image = world.good_image
    world.wait_state('DRIVING')


def test_one_bad_image_among_good_ones_does_no_harm(world):
    faults = world.process.output.count('FAULT')
    bad = truncated(world)
    for _ in range(5):
        bad.header.stamp = world.good_image().header.stamp
        world.camera.publish(bad)
        time.sleep(0.2)
    world.wait_state('DRIVING')
    assert world.process.output.count('FAULT') == faults


def test_resume_before_the_camera_is_back_waits_at_zero(world):
    world.make_image = None
    world.wait_state('FAULT')
    assert world.call('resume').success
    world.assert_stands('WAITING', 'camera stale')
    world.make_image = world.good_image
    world.wait_state('DRIVING')


def test_a_new_sentence_drives_on_as_resume_does(world):
    world.make_image = None
    world.wait_state('FAULT')
    world.make_image = world.good_image
    world.say('go to the other side of the room')
    world.wait_state('DRIVING')
