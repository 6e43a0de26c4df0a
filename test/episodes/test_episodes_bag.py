"""Bags are written completely, or can be completed."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from disks import NoDiskError, small_disk
from mcap.records import Message
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import Reader

from vla_nav.contract import Contract
from vla_nav.episodes.bag import PARTIAL, BagWriter
from vla_nav.episodes.definitions import definition
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.metadata import EpisodeMetadata
from vla_nav.episodes.reader import BagReader
from vla_nav.episodes.recovery import recover
from vla_nav.episodes.repair import CHUNK_START

STRING = 'std_msgs/msg/String'


def write(root, name='a', count=500, compress=False, close=True):
    writer = BagWriter(root, name, EpisodeMetadata(instruction='go', contract=Contract()),
                       compress=compress)
    writer.add_topic('/text', STRING, definition(STRING))
    for number in range(count):
        data = number.to_bytes(4, 'little') + os.urandom(4000)
        writer.write('/text', data, 1_000 + number, 500 + number)
    if close:
        writer.close()
    return writer


def numbers(path):
    with Reader(path) as reader:
        return [int.from_bytes(data[:4], 'little') for _, _, data in reader.messages()]


@pytest.mark.parametrize('compress', [False, True])
def test_messages_and_metadata_come_back(tmp_path, compress):
    path = write(tmp_path, compress=compress).path
    assert numbers(path) == list(range(500))
    with BagReader(path) as bag:
        assert bag.metadata.instruction == 'go'
        assert bag.metadata.contract == Contract()
        assert bag.metadata.stopped
        assert bag.topics == {'/text': (STRING, 500)}


def test_log_time_and_publish_time_are_kept_apart(tmp_path):
    from mcap.reader import make_reader

    path = write(tmp_path, count=3).path
    with (path / 'a.mcap').open('rb') as file:
        times = [(message.log_time, message.publish_time)
                 for _, _, message in make_reader(file, validate_crcs=True).iter_messages()]
    assert times == [(1000, 500), (1001, 501), (1002, 502)]


def test_nothing_has_its_final_name_before_it_is_complete(tmp_path):
    writer = write(tmp_path, close=False)
    assert not (tmp_path / 'a').exists()
    assert (tmp_path / PARTIAL / 'a').is_dir()
    assert writer.close() == tmp_path / 'a'
    assert not (tmp_path / PARTIAL).exists()


def test_an_exception_on_the_way_keeps_what_was_recorded(tmp_path):
    with pytest.raises(ZeroDivisionError), BagWriter(tmp_path, 'a', EpisodeMetadata()) as writer:
        writer.add_topic('/text', STRING, definition(STRING))
        writer.write('/text', b'0000', 1)
        raise ZeroDivisionError('of the driver')
    with BagReader(tmp_path / 'a', Contract()) as bag:
        assert bag.topics['/text'][1] == 1
        assert bag.metadata.stop_reason == 'ZeroDivisionError: of the driver'


def test_discard_leaves_nothing(tmp_path):
    write(tmp_path, close=False).discard()
    assert not list(tmp_path.rglob('*.mcap'))


def test_a_taken_name_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(EpisodeError, match='exists already'):
        BagWriter(tmp_path, 'a', EpisodeMetadata())


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / 'file').write_text('not a folder')
    with pytest.raises(EpisodeError, match=r'cannot write an episode in .*file'):
        BagWriter(tmp_path / 'file', 'a', EpisodeMetadata())


@pytest.mark.parametrize('compress', [False, True])
def test_a_file_cut_anywhere_is_recovered_up_to_the_cut(tmp_path, compress):
    whole = write(tmp_path, compress=compress).path / 'a.mcap'
    data = whole.read_bytes()
    kept = []
    for index, cut in enumerate(range(len(data) // 40, len(data), len(data) // 40)):
        folder = tmp_path / f'cut{index}'
        folder.mkdir()
        (folder / 'a.mcap').write_bytes(data[:cut])
        done, failed = recover(folder)
        if failed:
            assert 'nothing can be recovered' in failed[0]
            kept.append(0)
            continue
        found = numbers(folder)
        assert found == list(range(len(found)))
        assert done[0].messages == len(found)
        kept.append(len(found))
    assert kept == sorted(kept)
    # A chunk holds 1 MiB, so at most that much is missing anywhere.
    assert all(count >= 500 * (index + 1) / 40 - 270 for index, count in enumerate(kept))
    assert kept[-1] >= 480


def test_recovery_can_itself_be_interrupted(tmp_path):
    data = (write(tmp_path).path / 'a.mcap').read_bytes()
    folder = tmp_path / 'cut'
    folder.mkdir()
    (folder / 'cut.mcap').write_bytes(data[:len(data) * 3 // 4])
    recover(folder)
    recovered = numbers(folder)
    whole = (folder / 'cut.mcap').read_bytes()
    for cut in range(len(whole) - 600, len(whole), 37):
        (folder / 'cut.mcap').write_bytes(whole[:cut])
        assert not recover(folder)[1]
        assert numbers(folder) == recovered
        assert (folder / 'cut.mcap').read_bytes() == whole


@pytest.mark.parametrize('cut', [8, 20_000], ids=['footer', 'last chunk'])
@pytest.mark.parametrize(('at', 'size'), [
    pytest.param(500_000, 1, id='data'),
    pytest.param(500_000, 4096, id='block of data'),
    pytest.param(1, 8, id='length of the chunk'),
    pytest.param(3, 1, id='length, which then covers the next chunk'),
    pytest.param(-2048, 4096, id='block over two chunks'),
])
def test_damage_in_the_middle_costs_that_chunk_only(tmp_path, at, size, cut):
    path = write(tmp_path, count=1200).path  # about 260 in each chunk
    data = bytearray((path / 'a.mcap').read_bytes())
    start = [match.start() for match in CHUNK_START.finditer(data)][1] + at
    data[start:start + size] = bytes(byte ^ 0x31 for byte in data[start:start + size])
    folder = tmp_path / 'damaged'
    folder.mkdir()
    (folder / 'a.mcap').write_bytes(data[:-cut])
    (done,), failed = recover(folder)
    assert not failed
    found = numbers(folder)
    assert len(found) == done.messages
    assert found == sorted(set(found))
    lost = (2 if at < 0 else 1) * 262
    assert len(found) >= 1200 - lost - (0 if cut == 8 else 262)
    assert 600 < found[-1] < 1200
    assert 1_000_000 < done.unreadable_bytes < 2_300_000
    # Readers that know no index skip the damage, too.
    with (folder / 'a.mcap').open('rb') as file:
        records = StreamReader(file, validate_crcs=True).records
        assert len(found) == sum(isinstance(record, Message) for record in records)


def test_topics_that_a_damaged_chunk_declares_are_known(tmp_path):
    path = write(tmp_path).path
    data = bytearray((path / 'a.mcap').read_bytes())
    data[500_000] ^= 1
    (path / 'a.mcap').write_bytes(data[:-8])
    assert not recover(path)[1]
    found = numbers(path)
    assert found[0] > 200 and found == list(range(found[0], 500))
    (path / 'metadata.yaml').unlink()  # as if interrupted
    assert not recover(path)[1]
    assert numbers(path) == found


def test_topics_whose_type_is_lost_are_left_out(tmp_path):
    """Two topics of one type share its declaration, in the chunk where the first one begins."""
    path = tmp_path / 'a.mcap'
    with path.open('wb') as file:
        writer = Writer(file, chunk_size=2000, compression=CompressionType.NONE)
        writer.start('ros2', 'test')
        kept = writer.register_channel(
            '/kept', 'cdr', writer.register_schema('std_msgs/msg/Bool', 'ros2msg', b'bool data'))
        lost = []
        for second in range(90):
            if second == 30:
                schema = writer.register_schema(STRING, 'ros2msg', b'string data')
            if second in (30, 60):
                lost.append(writer.register_channel(f'/lost{second}', 'cdr', schema))
            for channel in (kept, *lost):
                writer.add_message(channel, second, os.urandom(60), second)
        writer.finish()
    data = bytearray(path.read_bytes())
    place = data.index(STRING.encode())
    data[place - 20:place + 200] = os.urandom(220)
    path.write_bytes(data[:-5000])  # the summary declares them again
    (done,), failed = recover(tmp_path)
    assert not failed
    with Reader(tmp_path) as reader:
        assert set(reader.topics) == {'/kept'}
        assert len(list(reader.messages())) == done.messages > 50


def test_the_episode_being_recorded_is_left_alone(tmp_path):
    writer = write(tmp_path, close=False)
    assert recover(tmp_path) == ([], [])
    writer.close()
    assert numbers(tmp_path / 'a') == list(range(500))


def test_a_bag_of_another_program_is_left_alone_while_it_is_written(tmp_path):
    source = (write(tmp_path).path / 'a.mcap').read_bytes()
    folder = tmp_path / 'rosbag2'
    folder.mkdir()
    data = source[:len(source) * 2 // 3]
    with (folder / 'rosbag2_0.mcap').open('wb') as file:
        file.write(data)
        file.flush()
        done, failed = recover(tmp_path)
        assert not done
        assert 'is being written by another program' in failed[0]
        assert (folder / 'rosbag2_0.mcap').read_bytes() == data
    assert recover(tmp_path, ours=True) == ([], [])
    assert (folder / 'rosbag2_0.mcap').read_bytes() == data
    done, failed = recover(tmp_path)
    assert [bag.path for bag in done] == [folder] and not failed


def test_a_complete_bag_is_not_touched(tmp_path):
    path = write(tmp_path).path
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    assert recover(tmp_path) == ([], [])
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_what_cannot_be_recovered_is_named(tmp_path):
    (tmp_path / 'junk').mkdir()
    (tmp_path / 'junk' / 'junk.mcap').write_bytes(b'not a bag at all')
    done, failed = recover(tmp_path)
    assert not done
    assert 'junk.mcap' in failed[0]


CRASHING = """
import os, sys, time
from vla_nav.contract import Contract
from vla_nav.episodes.bag import BagWriter
from vla_nav.episodes.definitions import definition
from vla_nav.episodes.metadata import EpisodeMetadata
writer = BagWriter(sys.argv[1], 'crash', EpisodeMetadata(instruction='a', contract=Contract()))
writer.add_topic('/text', 'std_msgs/msg/String', definition('std_msgs/msg/String'))
for number in range(300):
    writer.write('/text', number.to_bytes(4, 'little') + os.urandom(1000), number + 1)
writer.update(instruction='b')
writer.sync()
print('synced', flush=True)
while True:
    number += 1
    writer.write('/text', number.to_bytes(4, 'little') + os.urandom(1000), number + 1)
    time.sleep(0.001)
"""


def test_what_was_interrupted_before_its_first_message_leaves_nothing(tmp_path):
    writer = BagWriter(tmp_path, 'a', EpisodeMetadata())
    writer.add_topic('/a', STRING, definition(STRING))
    os.close(writer._lock)  # as the end of its process would
    assert recover(tmp_path, ours=True) == ([], [])
    assert not list((tmp_path / PARTIAL).iterdir())


def test_kill_9_loses_nothing_that_was_synced(tmp_path):
    process = subprocess.Popen([sys.executable, '-c', CRASHING, str(tmp_path)],
                               stdout=subprocess.PIPE, text=True,
                               env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert process.stdout.readline() == 'synced\n'
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    done, failed = recover(tmp_path)
    assert [item.path for item in done] == [tmp_path / 'crash']
    assert not failed
    found = numbers(tmp_path / 'crash')
    assert found == list(range(len(found)))
    assert len(found) >= 300
    with BagReader(tmp_path / 'crash') as bag:
        assert bag.metadata.recovered
        assert bag.metadata.instruction == 'b'
        assert len(list(bag.raw_messages())) == len(found)


def test_a_full_disk_ends_the_episode_and_keeps_the_bag(tmp_path):
    try:
        with small_disk(tmp_path, 12) as disk:
            writer = BagWriter(disk, 'full', EpisodeMetadata(instruction='go'))
            writer.add_topic('/text', STRING, definition(STRING))
            with pytest.raises(EpisodeError, match=r'disk full .* free some space'):
                for number in range(100_000):
                    writer.write('/text', number.to_bytes(4, 'little') + os.urandom(20_000),
                                 number)
            writer.close()
            found = numbers(disk / 'full')
            assert found == list(range(len(found)))
            assert len(found) > 250
            (disk / 'filler').write_bytes(bytes(shutil.disk_usage(disk).free))
            with pytest.raises(EpisodeError, match='has space'):
                BagWriter(disk, 'more', EpisodeMetadata())
    except NoDiskError as error:
        pytest.skip(str(error))


def test_damaged_custom_data_is_named(tmp_path):
    path = write(tmp_path).path
    metadata = path / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace("'[]'", "'[broken'"))
    with pytest.raises(EpisodeError, match='custom_data in metadata.yaml is damaged'):
        BagReader(path)


def test_sidecar_holds_the_metadata_from_the_start(tmp_path):
    writer = write(tmp_path, close=False)
    writer.update(outcome='success')
    text = (tmp_path / PARTIAL / 'a' / 'episode.json').read_text()
    assert json.loads(text)['vla_nav.outcome'] == 'success'
    writer.discard()
