"""ROS in, ROS out: the nodes translate messages and leave every decision to the rooms below."""
