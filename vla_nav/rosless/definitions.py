"""Interface definitions that the rosbags type store does not carry: services, and some messages.

Each service is the text of its `.srv` file: request, a line of dashes, response.
"""

SERVICES = {
    'std_srvs/srv/Empty': '---\n',
    'std_srvs/srv/SetBool': 'bool data\n---\nbool success\nstring message\n',
    'std_srvs/srv/Trigger': '---\nbool success\nstring message\n',
    'rcl_interfaces/srv/DescribeParameters': (
        'string[] names\n---\nrcl_interfaces/ParameterDescriptor[] descriptors\n'
    ),
    'rcl_interfaces/srv/GetParameters': (
        'string[] names\n---\nrcl_interfaces/ParameterValue[] values\n'
    ),
    'rcl_interfaces/srv/GetParameterTypes': 'string[] names\n---\nuint8[] types\n',
    'rcl_interfaces/srv/ListParameters': (
        'uint64 DEPTH_RECURSIVE=0\nstring[] prefixes\nuint64 depth\n'
        '---\nrcl_interfaces/ListParametersResult result\n'
    ),
    'rcl_interfaces/srv/SetParameters': (
        'rcl_interfaces/Parameter[] parameters\n'
        '---\nrcl_interfaces/SetParametersResult[] results\n'
    ),
    'rcl_interfaces/srv/SetParametersAtomically': (
        'rcl_interfaces/Parameter[] parameters\n---\nrcl_interfaces/SetParametersResult result\n'
    ),
    'rcl_interfaces/srv/GetLoggerLevels': (
        'string[] names\n---\nrcl_interfaces/LoggerLevel[] levels\n'
    ),
    'rcl_interfaces/srv/SetLoggerLevels': (
        'rcl_interfaces/LoggerLevel[] levels\n'
        '---\nrcl_interfaces/SetLoggerLevelsResult[] results\n'
    ),
    'lifecycle_msgs/srv/ChangeState': (
        'lifecycle_msgs/Transition transition\n---\nbool success\n'
    ),
    'lifecycle_msgs/srv/GetState': '---\nlifecycle_msgs/State current_state\n',
    'lifecycle_msgs/srv/GetAvailableStates': (
        '---\nlifecycle_msgs/State[] available_states\n'
    ),
    'lifecycle_msgs/srv/GetAvailableTransitions': (
        '---\nlifecycle_msgs/TransitionDescription[] available_transitions\n'
    ),
    'diagnostic_msgs/srv/AddDiagnostics': (
        'string load_namespace\n---\nbool success\nstring message\n'
    ),
    'diagnostic_msgs/srv/SelfTest': (
        '---\nstring id\nbyte passed\ndiagnostic_msgs/DiagnosticStatus[] status\n'
    ),
    'sensor_msgs/srv/SetCameraInfo': (
        'sensor_msgs/CameraInfo camera_info\n---\nbool success\nstring status_message\n'
    ),
    'nav_msgs/srv/GetMap': '---\nnav_msgs/OccupancyGrid map\n',
    'nav_msgs/srv/LoadMap': (
        'string map_url\n---\n'
        'uint8 RESULT_SUCCESS=0\nuint8 RESULT_MAP_DOES_NOT_EXIST=1\n'
        'uint8 RESULT_INVALID_MAP_DATA=2\nuint8 RESULT_INVALID_MAP_METADATA=3\n'
        'uint8 RESULT_UNDEFINED_FAILURE=255\nnav_msgs/OccupancyGrid map\nuint8 result\n'
    ),
    'nav_msgs/srv/SetMap': (
        'nav_msgs/OccupancyGrid map\ngeometry_msgs/PoseWithCovarianceStamped initial_pose\n'
        '---\nbool success\n'
    ),
    'nav_msgs/srv/GetPlan': (
        'geometry_msgs/PoseStamped start\ngeometry_msgs/PoseStamped goal\nfloat32 tolerance\n'
        '---\nnav_msgs/Path plan\n'
    ),
}

MESSAGES = {
    'rcl_interfaces/msg/LoggerLevel': (
        'uint8 LOG_LEVEL_UNKNOWN=0\nuint8 LOG_LEVEL_DEBUG=10\nuint8 LOG_LEVEL_INFO=20\n'
        'uint8 LOG_LEVEL_WARN=30\nuint8 LOG_LEVEL_ERROR=40\nuint8 LOG_LEVEL_FATAL=50\n'
        'string name\nuint32 level\n'
    ),
    'rcl_interfaces/msg/SetLoggerLevelsResult': 'bool successful\nstring reason\n',
}

DEFAULTS = {'geometry_msgs/msg/Quaternion': {'w': 1.0}}
"""Default values other than zero, which the type store drops when it reads a definition."""
