"""Message classes: construction, checks, types of fields, CDR."""

import array

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import Pose, PoseWithCovariance, Twist, TwistStamped, Vector3
from nav_msgs.msg import Odometry, Path
from rcl_interfaces.msg import Log, ParameterDescriptor
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import (
    CameraInfo,
    CompressedImage,
    Image,
    JointState,
    LaserScan,
    PointCloud2,
)
from std_msgs.msg import ByteMultiArray, Empty, Float32MultiArray, Header, String
from std_srvs.srv import SetBool, Trigger


def test_fields_have_their_defaults():
    pose = Pose()
    assert (pose.position.x, pose.orientation.w) == (0.0, 1.0)
    assert Image().data == array.array('B')
    assert Header().frame_id == ''


def test_construction_by_keyword():
    twist = Twist(linear=Vector3(x=1.0), angular=Vector3(z=-0.5))
    assert (twist.linear.x, twist.angular.z) == (1.0, -0.5)


def test_unknown_keyword_is_refused():
    with pytest.raises(AssertionError, match='Invalid arguments passed to constructor: speed'):
        Twist(speed=1.0)


@pytest.mark.parametrize('message, field, value, expected', [
    (Vector3(), 'x', 1, "'x' field must be of type 'float'"),
    (String(), 'data', 3, "'data' field must be of type 'str'"),
    (Image(), 'height', -1, "'height' field must be an unsigned integer in|in \\[0, 4294967295"),
    (Image(), 'height', 1.5, "'height' field must be of type 'int'"),
    (Twist(), 'linear', 0.0, "'linear' field must be a sub message of type 'Vector3'"),
    (DiagnosticStatus(), 'level', 1, "'level' field must be of type 'bytes'"),
    (DiagnosticStatus(), 'values', [1], "'values' field must be a set or sequence"),
    (PoseWithCovariance(), 'covariance', [0.0] * 35, "'covariance' field must"),
])
def test_wrong_value_is_refused(message, field, value, expected):
    with pytest.raises(AssertionError, match=expected):
        setattr(message, field, value)


def test_unknown_field_is_refused():
    with pytest.raises(AttributeError):
        Twist().speed = 1.0


def test_byte_is_bytes_of_length_one():
    status = DiagnosticStatus(level=DiagnosticStatus.WARN)
    assert DiagnosticStatus.WARN == b'\x01'
    assert status.level == b'\x01'


def test_sequence_of_numbers_is_an_array():
    scan = LaserScan(ranges=[1.0, 2.5])
    assert scan.ranges == array.array('f', [1.0, 2.5])
    scan.ranges.append(3.0)
    assert len(scan.ranges) == 3


def test_array_of_fixed_length_is_numpy():
    covariance = PoseWithCovariance().covariance
    assert covariance.dtype == np.float64
    assert covariance.shape == (36,)


def test_image_takes_bytes():
    image = Image(data=b'\x01\x02\x03')
    assert image.data == array.array('B', [1, 2, 3])
    assert np.array_equal(np.frombuffer(image.data, np.uint8), [1, 2, 3])


def test_equality_is_by_value():
    assert Twist(linear=Vector3(x=1.0)) == Twist(linear=Vector3(x=1.0))
    assert Twist(linear=Vector3(x=1.0)) != Twist()
    assert PoseWithCovariance() == PoseWithCovariance()
    assert String() != Twist()


def test_repr_names_type_and_fields():
    assert repr(String(data='hi')) == "std_msgs.msg.String(data='hi')"


def test_fields_and_their_types():
    assert Image.get_fields_and_field_types() == {
        'header': 'std_msgs/Header', 'height': 'uint32', 'width': 'uint32', 'encoding': 'string',
        'is_bigendian': 'uint8', 'step': 'uint32', 'data': 'sequence<uint8>'}
    assert PoseWithCovariance.get_fields_and_field_types()['covariance'] == 'double[36]'
    assert DiagnosticStatus.get_fields_and_field_types()['level'] == 'octet'
    assert SetBool.Response.get_fields_and_field_types() == {
        'success': 'boolean', 'message': 'string'}


def test_constants():
    assert (Log.INFO, Log.FATAL) in [(20, 50), (b'\x14', b'2')]


def test_bounded_sequence_is_bounded():
    from rcl_interfaces.msg import IntegerRange
    with pytest.raises(AssertionError):
        ParameterDescriptor(integer_range=[IntegerRange(), IntegerRange()])


def test_service_classes():
    assert Trigger.Request() == Trigger.Request()
    assert SetBool.Request(data=True).data is True
    with pytest.raises(NotImplementedError):
        SetBool()


@pytest.mark.parametrize('message', [
    Empty(),
    String(data='grün'),
    Header(frame_id='map'),
    TwistStamped(twist=Twist(linear=Vector3(x=0.25))),
    Image(width=2, height=1, encoding='mono8', step=2, data=b'\x07\x08'),
    CompressedImage(format='jpeg', data=bytes(range(256))),
    CameraInfo(d=[0.1, 0.2], k=np.arange(9, dtype=np.float64)),
    LaserScan(ranges=[1.0, float('inf')], intensities=[]),
    PointCloud2(data=b'abc', is_dense=True),
    Odometry(child_frame_id='base_link'),
    Path(poses=[]),
    DiagnosticStatus(level=b'\x02', values=[KeyValue(key='a', value='b')]),
    ByteMultiArray(data=[b'\x01', b'\xff']),
    Float32MultiArray(data=[1.0, 2.0, 3.0]),
    ParameterDescriptor(name='p', read_only=True),
], ids=lambda message: type(message).__name__)
def test_cdr_round_trip(message):
    data = serialize_message(message)
    assert isinstance(data, bytes)
    assert data[:2] == b'\x00\x01'
    assert deserialize_message(data, type(message)) == message


def test_cdr_bytes_of_a_twist():
    data = serialize_message(Twist(linear=Vector3(x=1.0)))
    assert data[4:] == np.array([1, 0, 0, 0, 0, 0], dtype='<f8').tobytes()


@pytest.mark.parametrize('wire, text', [
    (b'\x03\0\0\0K\xfc\0', 'K\ufffd'), (b'\0\0\0\0', ''), (b'\x04\0\0\0a\0b\0', 'a')])
def test_a_string_of_bytes_that_are_no_text(wire, text):
    """Such as Latin-1 of an old driver: the rest of the message still counts."""
    assert deserialize_message(b'\0\x01\0\0' + wire, String) == String(data=text)
    stamp = b'\0\x01\0\0' + bytes(8)
    assert deserialize_message(stamp + wire, Header) == Header(frame_id=text)


def test_strings_of_bytes_that_are_no_text_in_a_list():
    data = serialize_message(JointState(name=['aXX', 'b'], position=[1.5]))
    heard = deserialize_message(data.replace(b'XX', b'\xfcX'), JointState)
    assert heard == JointState(name=['a\ufffdX', 'b'], position=[1.5])
