get() { curl -sS --globoff -H "Authorization: Bearer $TOKEN" "$@"; }
get "$CALL" > /dev/null
get -o /dev/null -w '%header{cache-status}\n' "$CALL"
get "$CALL?fields=id,status"
echo
get -w '\n%{http_code}\n' "$CALL?fields=("
