#!/bin/sh
# Removes the program; configuration, state and what the agent made in the databases stay.
# An upgrade is no removal: dpkg then says `upgrade`, rpm says 1.
set -e
case "${1:-0}" in
  remove | 0)
    if [ -x /opt/unit-sync-agent/current/install.sh ]; then
      /opt/unit-sync-agent/current/install.sh uninstall
    fi
    ;;
esac
