#!/bin/sh
# Installs, upgrades and removes the sync agent on a host without network, from the unpacked archive.
#
#   sudo ./install.sh              install; upgrade where another version is installed
#   sudo ./install.sh rollback     go back to the version before the last upgrade
#   sudo ./install.sh uninstall    remove the program; configuration and state stay
#   sudo ./install.sh uninstall --purge   remove them, too, and what the agent made in the databases
#   sudo ./install.sh uninstall --purge --as postgresql://postgres@host/business
#                                  the same as an administrator of the business database
#
# A version lives in a folder of its own, /opt/unit-sync-agent/VERSION; the link `current` names the
# one that runs. So an upgrade is one step, and so is the way back.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
home=/opt/unit-sync-agent
config=/etc/unit-sync-agent
state=/var/lib/unit-sync-agent
units=/etc/systemd/system
program=/usr/bin/sync-agent
manual=/usr/share/man
user=unit-sync-agent

case "${SYNC_AGENT_LANG:-${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}}" in
  zh*) chinese=yes ;;
  *) chinese=no ;;
esac

say() { # ENGLISH CHINESE
  if [ "$chinese" = yes ]; then printf '%s\n' "$2"; else printf '%s\n' "$1"; fi
}

fail() { # ENGLISH CHINESE
  say "install: $1" "安装：$2" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

systemd_runs() { [ -d /run/systemd/system ]; }

# ---- before anything is changed

need_root() {
  [ "$(id -u)" = 0 ] || fail "run it as root: sudo $0 $*" "请以 root 身份运行：sudo $0 $*"
}

check_files() {
  say "Checking the files of the archive ..." "正在校验安装包中的文件……"
  (cd "$here" && sha256sum --quiet --strict -c SHA256SUMS) ||
    fail "a file differs from SHA256SUMS: fetch the archive again" \
      "有文件与 SHA256SUMS 不符：请重新获取安装包"
}

check_machine() {
  machine=$(uname -m)
  [ "$machine" = "$ARCHITECTURE" ] ||
    fail "this archive is for $ARCHITECTURE, this host is $machine" \
      "本安装包适用于 $ARCHITECTURE，而本机为 $machine"
}

# Sets `python`: the archive's own, which is unpacked into the version's folder, or the host's.
find_python() {
  if [ -f "$here/python.tar.gz" ]; then
    mkdir -p "$home/$VERSION/runtime"
    tar -xzf "$here/python.tar.gz" -C "$home/$VERSION/runtime" --strip-components=1
    python="$home/$VERSION/runtime/bin/python3"
    return
  fi
  for candidate in "/usr/bin/python$PYTHON_VERSION" "python$PYTHON_VERSION" python3; do
    have "$candidate" || continue
    found=$("$candidate" -c 'import sys, venv; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    if [ "$found" = "$PYTHON_VERSION" ]; then
      python=$candidate
      return
    fi
  done
  fail "this archive needs Python $PYTHON_VERSION on this host, or one made with its own Python" \
    "本安装包需要本机装有 Python $PYTHON_VERSION；或请使用自带 Python 的安装包"
}

# ---- the steps of an installation

make_user() {
  if have systemd-sysusers; then
    systemd-sysusers "$here/deploy/sysusers.d/unit-sync-agent.conf"
  elif ! id "$user" >/dev/null 2>&1; then
    useradd --system --home-dir "$state" --shell /usr/sbin/nologin "$user"
  fi
  install -d -m 750 -o root -g "$user" "$config"
  install -d -m 750 -o "$user" -g "$user" "$state"
}

make_version() {
  say "Installing version $VERSION into $home/$VERSION ..." "正在把 $VERSION 版安装到 $home/$VERSION……"
  rm -rf "${home:?}/$VERSION"
  mkdir -p "$home/$VERSION"
  find_python
  "$python" -m venv --without-pip "$home/$VERSION"
  pip=$(ls "$here"/wheels/pip-*.whl)
  "$home/$VERSION/bin/python" "$pip/pip" install --quiet --no-cache-dir --disable-pip-version-check \
    --no-index --no-deps --find-links "$here/wheels" --require-hashes -r "$here/requirements.txt"
  cp "$here/install.sh" "$here/version" "$here/sbom.cdx.json" "$home/$VERSION/"
  cp -r "$here/licences" "$here/deploy" "$here/handbook" "$home/$VERSION/"
}

# Makes `current` name a version; the switch is one rename, so there is no moment without a program.
switch_to() {
  ln -sfn "$1" "$home/current.new"
  mv -T "$home/current.new" "$home/current"
  ln -sfn "$home/current/bin/sync-agent" "$program"
}

put_units() {
  install -d "$units"
  for unit in "$home/current"/deploy/systemd/*@.*; do
    install -m 644 "$unit" "$units/"
  done
  if systemd_runs; then systemctl daemon-reload; fi
}

# Where the host has manual pages; they are those of the version that is current.
put_manual() {
  for page in man1/sync-agent.1 zh_CN/man1/sync-agent.1; do
    [ -d "$(dirname "$manual/$page")" ] || continue
    ln -sfn "$home/current/deploy/man/$page" "$manual/$page"
  done
}

put_example() {
  [ -z "$(names)" ] || return 0
  "$program" example-config >"$config/agent.toml"
  chown "root:$user" "$config/agent.toml"
  chmod 640 "$config/agent.toml"
}

# ---- agents of this host

names() {
  for file in "$config"/*.toml; do
    [ -f "$file" ] && basename "$file" .toml
  done
  return 0
}

active() {
  systemd_runs || return 0
  for name in $(names); do
    if systemctl is-active --quiet "sync-agent@$name"; then echo "$name"; fi
  done
}

# Prints how many errors `check` finds for an agent with the version that is current.
errors_of() {
  found=$(runuser -u "$user" -- "$program" -c "$config/$1.toml" check --json 2>/dev/null) || true
  printf '%s' "$found" | "$home/current/bin/python" -c '
import json, sys
try:
    print(sum(finding["level"] == "error" for finding in json.load(sys.stdin)))
except ValueError:
    print(1000)  # no answer is worse than any'
}

each() { # COMMAND NAMES...
  command=$1
  shift
  for name in "$@"; do
    systemctl "$command" "sync-agent@$name"
  done
}

# ---- commands

install_or_upgrade() {
  check_files
  check_machine
  before=$(readlink "$home/current" 2>/dev/null || true)
  if [ -z "$before" ] || [ "$before" = "$VERSION" ]; then
    running=$(active)
    # shellcheck disable=SC2086
    each stop $running
    make_user
    make_version
    switch_to "$VERSION"
    put_units
    put_manual
    put_example
    # shellcheck disable=SC2086
    each start $running
    say "Installed: sync-agent $VERSION. Next: edit $config/agent.toml, or answer \`sync-agent setup\`, then \`sync-agent -c $config/agent.toml init\`." \
      "已安装 sync-agent $VERSION。下一步：编辑 $config/agent.toml，或执行 \`sync-agent setup\` 以问答方式生成，然后执行 \`sync-agent -c $config/agent.toml init\`。"
    return
  fi

  make_user
  make_version
  running=$(active)
  known=
  for name in $running; do
    known="$known $name=$(errors_of "$name")"
  done
  # shellcheck disable=SC2086
  each stop $running
  ln -sfn "$before" "$home/previous"
  switch_to "$VERSION"
  for pair in $known; do
    name=${pair%=*}
    now=$(errors_of "$name")
    if [ "$now" -gt "${pair#*=}" ]; then
      switch_to "$before"
      put_units
      # shellcheck disable=SC2086
      each start $running
      fail "with $VERSION \`check\` finds more errors for $name than with $before, which runs again" \
        "使用 $VERSION 时，\`check\` 对 $name 报告的错误多于 $before；已恢复使用 $before"
    fi
  done
  put_units
  put_manual
  # shellcheck disable=SC2086
  each start $running
  say "Upgraded from $before to $VERSION. The way back: $home/current/install.sh rollback" \
    "已从 $before 升级到 $VERSION。退回旧版：$home/current/install.sh rollback"
}

rollback() {
  before=$(readlink "$home/previous" 2>/dev/null || true)
  if [ -z "$before" ] || [ ! -x "$home/$before/bin/sync-agent" ]; then
    fail "there is no version to go back to" "没有可以退回的旧版"
  fi
  now=$(readlink "$home/current")
  running=$(active)
  # shellcheck disable=SC2086
  each stop $running
  for name in $(names); do
    if ! runuser -u "$user" -- "$program" -c "$config/$name.toml" downgrade --to "$before" --apply; then
      # shellcheck disable=SC2086
      each start $running
      fail "the stored data of $name cannot be given to $before yet, see above; $now runs again" \
        "$name 的已存数据暂不能交给 $before 使用（原因见上）；已恢复运行 $now"
    fi
  done
  switch_to "$before"
  ln -sfn "$now" "$home/previous"
  put_units
  # shellcheck disable=SC2086
  each start $running
  say "Went back from $now to $before" "已从 $now 退回到 $before"
}

# Shows, then removes, what each agent made in its business database. A step that fails stops it all.
# Arguments: none, or --as URL.
purge_databases() {
  for name in $(names); do
    say "What agent $name has made in its business database:" "同步代理 $name 在其业务库中创建的内容："
    runuser -u "$user" -- "$program" -c "$config/$name.toml" remove-source "$@"
  done
  if [ "${CONFIRM:-}" != yes ]; then
    say "Remove all this, the configuration and the state, with a SQLite front end that lies there, for good? Type yes:" \
      "确定永久删除以上内容、配置和状态（包括其中的 SQLite 前置库）吗？请输入 yes："
    read -r answer
    [ "$answer" = yes ] || fail "nothing was removed" "未删除任何内容"
  fi
  for name in $(names); do
    runuser -u "$user" -- "$program" -c "$config/$name.toml" remove-source --apply "$@" ||
      fail "remove-source failed for $name: mend the cause and give the command again. Where a right is missing, add: --as postgresql://ADMINISTRATOR@HOST/DATABASE; or let the database's owner run what it printed and remove $config/$name.toml" \
        "对 $name 执行 remove-source 失败：请消除原因后再次执行。缺少权限时加上：--as postgresql://管理员@主机/数据库；或由数据库所有者执行所显示的语句，再删除 $config/$name.toml"
  done
}

uninstall() {
  running=$(active)
  # shellcheck disable=SC2086
  each stop $running
  purge=no
  if [ "${1:-}" = --purge ]; then
    purge=yes
    shift
    purge_databases "$@"
  fi
  if systemd_runs; then
    for name in $(names); do
      systemctl disable --quiet --now "sync-agent@$name" "sync-agent-verify@$name.timer" 2>/dev/null || true
      if [ "$purge" = yes ]; then # when the timer last came
        systemctl clean --what=state "sync-agent-verify@$name.timer" 2>/dev/null || true
      fi
    done
  fi
  for unit in sync-agent@.service sync-agent-verify@.service sync-agent-verify@.timer; do
    rm -f "$units/$unit"
  done
  if systemd_runs; then systemctl daemon-reload; fi
  rm -f "$program" "$manual/man1/sync-agent.1" "$manual/zh_CN/man1/sync-agent.1"
  rm -rf "$home"
  if [ "$purge" = yes ]; then
    rm -rf "$config" "$state"
    if id "$user" >/dev/null 2>&1; then userdel "$user"; fi
    say "Removed, with configuration and state. Topics stay, and front-end tables in a database server: they are their owners'." \
      "已删除，包括配置和状态。主题以及数据库服务器中的前置库表仍在：由其所有者处理。"
    return
  fi
  say "Removed. Configuration ($config) and state ($state) stay; so do the slot or triggers in the business database." \
    "已删除。配置（$config）和状态（$state）仍保留，业务库中的复制槽或触发器也仍保留。"
}

need_root "$@"
# VERSION, ARCHITECTURE, PYTHON_VERSION
. "$here/version"
case "${1:-install}" in
  install) install_or_upgrade ;;
  rollback) rollback ;;
  uninstall)
    shift
    uninstall "$@"
    ;;
  *) fail "unknown command $1: install, rollback or uninstall [--purge [--as URL]]" "未知命令 $1：可用 install、rollback、uninstall [--purge [--as URL]]" ;;
esac
