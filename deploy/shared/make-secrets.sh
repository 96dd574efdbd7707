#!/bin/sh
# Makes the key of the group, a password for the engine and the engine's users, unless they exist.
# usage: make-secrets.sh FOLDER USERS_ACL
set -eu
umask 077
cd "$1"
random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
test -s scope-key || random > scope-key
test -s password || random > password
digest=$(sha256sum password | cut -d ' ' -f 1)
sed "s/PASSWORD_SHA256/$digest/" "$2" > users.acl
