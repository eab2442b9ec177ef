"""The bundle of `sync-agent doctor`: what somebody far away needs to see what is wrong."""
