#!/usr/bin/env bash
# Writes the files of a release beside the program: deploy/package.sh PROGRAM FOLDER
set -euo pipefail

program=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
cd "$(dirname "$0")/.."

install -m 0755 "$program" "$folder/stuut-cache"
install -m 0644 config/stuut-cache.toml LICENSE README.md CHANGELOG.md "$folder"
mkdir -p "$folder"/{man1,completions,systemd}
install -m 0644 deploy/systemd/* "$folder/systemd"
"$program" openapi >"$folder/openapi.json"
"$program" man >"$folder/man1/stuut-cache.1"
"$program" --help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on && $1 != "help" { print $1 }' |
  while read -r command; do
    "$program" man "$command" >"$folder/man1/stuut-cache-$command.1"
  done
"$program" completions bash >"$folder/completions/stuut-cache"
"$program" completions zsh >"$folder/completions/_stuut-cache"
"$program" completions fish >"$folder/completions/stuut-cache.fish"
