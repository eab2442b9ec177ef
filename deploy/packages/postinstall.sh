#!/bin/sh
# Installs or upgrades from the files that the package has just brought.
set -e
exec /usr/lib/unit-sync-agent/archive/install.sh
