"""Drawing tools of the views."""
