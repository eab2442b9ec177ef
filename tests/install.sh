#!/usr/bin/env bash
# Installs what the tests' servers need and this machine lacks, or of it the parts named; quick when all is there.
set -euo pipefail

missing=()

have_postgres() { [[ -x /usr/lib/postgresql/15/bin/postgres || -x /usr/pgsql-15/bin/postgres ]]; }

have_java() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || return 1
  [[ -n $version && $version -ge 17 ]]
}

have_library() { ldconfig -p | grep -q "$1"; }

# Of the Python that runs the tests; Debian has them in a package of their own
have_headers() {
  local python=${VENV:-.venv}/bin/python
  [[ -x $python ]] || python=python3
  [[ -e $("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]]
}

parts=("$@")
[[ $# -gt 0 ]] || parts=(postgres java mariadb firebird maven openssl systemd debian prometheus chromium compiler)

for part in "${parts[@]}"; do
  case $part in
    postgres) have_postgres || [[ -n ${SYNC_TEST_PG15:-} ]] || missing+=(postgresql-15) ;;
    java) have_java || missing+=(openjdk-17-jre-headless) ;;
    mariadb) # mariadb-binlog prints a log: it judges our reader; the toolkit changes tables online
      [[ -x /usr/sbin/mariadbd || -n ${SYNC_TEST_MARIADB:-} ]] || missing+=(mariadb-server-core)
      command -v mariadb-binlog >/dev/null || missing+=(mariadb-client)
      command -v pt-online-schema-change >/dev/null || missing+=(percona-toolkit)
      ;;
    firebird) # what its Python package lacks, or hides from its own plugins
      have_library libtommath.so.1 || missing+=(libtommath1)
      have_library libtomcrypt.so.1 || missing+=(libtomcrypt1)
      ;;
    maven) command -v mvn >/dev/null || missing+=(maven) ;;
    openssl) command -v openssl >/dev/null || missing+=(openssl) ;;
    systemd) command -v systemd-analyze >/dev/null || missing+=(systemd) ;;
    debian) # a clean host, with a systemd of its own
      command -v debootstrap >/dev/null || missing+=(debootstrap)
      command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
      ;;
    prometheus) # promtool and amtool come with them
      command -v prometheus >/dev/null || missing+=(prometheus)
      command -v amtool >/dev/null || missing+=(prometheus-alertmanager)
      ;;
    chromium) # looks at the status page; it needs a font for Chinese
      command -v chromium >/dev/null || missing+=(chromium fonts-noto-cjk)
      ;;
    compiler) # for compiled modules, and for schedules with a wrong clock
      command -v cc >/dev/null || missing+=(gcc libc6-dev)
      have_headers || missing+=(python3-dev)
      ;;
  esac
done

if [[ ${#missing[@]} -eq 0 ]]; then
  echo "install: all is here: ${parts[*]}"
  exit 0
fi

line="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
echo "install: missing: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  echo "install: no apt-get here; install these by hand: PostgreSQL 15, MariaDB, libtommath, libtomcrypt, Java 17 or newer, Maven, openssl, systemd with systemd-nspawn, debootstrap, Prometheus and its Alertmanager, Chromium with a font for Chinese, a C compiler with the headers of Python (of them what is missing)" >&2
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
