#!/usr/bin/env bash
# Installs what the tests' servers need and this machine lacks; quick and silent about the rest when all is there.
set -euo pipefail

missing=()

have_postgres() { [[ -x /usr/lib/postgresql/15/bin/postgres || -x /usr/pgsql-15/bin/postgres ]]; }

have_java() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || return 1
  [[ -n $version && $version -ge 17 ]]
}

have_postgres || [[ -n ${SYNC_TEST_PG15:-} ]] || missing+=(postgresql-15)
have_java || missing+=(openjdk-17-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
command -v openssl >/dev/null || missing+=(openssl)

if [[ ${#missing[@]} -eq 0 ]]; then
  echo "install: PostgreSQL 15, Java, Maven and openssl are here"
  exit 0
fi

line="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
echo "install: missing: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  echo "install: no apt-get here; install PostgreSQL 15, Java 17 or newer, Maven and openssl by hand" >&2
  exit 1
elif [[ $(id -u) -eq 0 ]]; then
  rights=()
elif sudo -n true 2>/dev/null; then
  rights=(sudo -n)
else
  echo "install: needs rights this user lacks; run this once:" >&2
  echo "  sudo sh -c '$line'" >&2
  exit 1
fi
echo "install: $line"
"${rights[@]}" env DEBIAN_FRONTEND=noninteractive sh -c "$line"
