# Tests the installed units under the systemd that runs this script; prints each check that passed.
set -u
etc=/etc/stuut-cache
file=$etc/stuut-cache.toml
admin=http://127.0.0.1:9090

call() {
  curl -sS -m 10 -o /dev/null -w '%{http_code}\n' -H 'Authorization: Bearer demo-acme-1' \
    http://127.0.0.1:8080/v1/calls/call_acme_0001
}
purge() { curl -sS -m 10 -o /dev/null -w '%{http_code}' -X POST -H "Authorization: Bearer $1" "$admin/purge?all"; }
property() { systemctl show -P "$1" stuut-cache.service; }
fail() {
  echo "failed: $*"
  systemctl status --no-pager -l stuut-cache.service
  exit 1
}
# Polls for twenty seconds at most.
wait_until() {
  for _ in {1..200}; do
    "$@" && return
    sleep 0.1
  done
  fail "never: $*"
}
is() { [[ $(property "$1") == "$2" ]]; }
answers() { wait_until is SubState running && [[ $(call) == 200 ]]; }
# The start limit is for a service that fails by itself, not for restarts by this script.
restart() { systemctl reset-failed stuut-cache.service && systemctl restart stuut-cache.service; }

echo 'systemd is up'
bash -eu /out/enable.sh || fail 'the commands of docs/deployment.md'
answers || fail 'a call'
systemctl -q is-active stuut-cache.socket stuut-cache-admin.socket || fail 'the sockets'
echo 'it answers on the sockets'

status=/proc/$(property MainPID)/status
for line in 'Uid:\t[1-9]' 'CapEff:\t0+$' 'NoNewPrivs:\t1' 'Seccomp:\t2'; do
  grep -qP "^$line" "$status" || fail "$line in $status"
done
echo 'it runs unprivileged'

touch /run/load
for client in 1 2 3 4; do
  while [[ -e /run/load ]]; do call; done >/run/load.$client 2>&1 &
done
for _ in 1 2 3; do
  sleep 0.3
  restart || fail 'a restart'
done
sleep 0.3
rm /run/load
wait
[[ $(sort -u /run/load.?) == 200 ]] || fail "$(sort /run/load.? | uniq -c)"
echo 'three restarts under load lose no request'

pid=$(property MainPID)
printf '\n[freshness]\ndefault = "5s"\n' >>$file
systemctl reload stuut-cache.service || fail 'a reload'
applied() { [[ $(curl -sS $admin/metrics) == *'config_reloads_total{result="applied"} 1'* ]]; }
wait_until applied
answers && is MainPID "$pid" || fail 'after a reload'
echo 'a reload keeps the process'

cp $file /run/good
echo 'capacity = 1' >>$file
systemctl reload stuut-cache.service 2>/dev/null && fail 'a faulty file was accepted'
answers && is MainPID "$pid" || fail 'after a faulty file'
echo 'a reload with a faulty file is refused'

restart 2>/dev/null && fail 'a start with a faulty file'
is SubState failed && is ExecMainStatus 78 && is NRestarts 0 || fail 'started again'
cp /run/good $file
restart && answers || fail 'after a corrected file'
echo 'a start with a faulty file is not retried'

kill -STOP "$(property MainPID)"
wait_until is NRestarts 1
answers || fail 'after the watchdog'
echo 'a process that hangs is replaced'

kill -KILL "$(property MainPID)"
wait_until is NRestarts 2
answers || fail 'after it was killed'
echo 'a process that dies is replaced'

mkdir -p /run/systemd/system/stuut-cache.service.d
cp /out/credential.conf /run/systemd/system/stuut-cache.service.d/
systemctl daemon-reload
restart && answers || fail 'with a credential'
[[ $(purge wrong) == 401 && $(purge swordfish) == 200 ]] || fail "purges: $(purge wrong) $(purge swordfish)"
echo 'capacity = 1' >>$file
systemctl reload stuut-cache.service || fail 'a reload with a credential'
refused() { [[ $(property StatusText) == *'was refused'* ]]; }
wait_until refused
answers || fail 'after a file that the proxy refused'
cp /run/good $file
systemctl reload stuut-cache.service
wait_until applied
refused && fail 'a corrected file'
echo 'it has the credential, and refuses a faulty file itself'

systemctl stop stuut-cache.socket stuut-cache-admin.socket stuut-cache.service
is Result success || fail 'a stop'
echo 'it stops cleanly'
