# Installs the package $1, upgrades and removes it, in a copy of this system that is discarded.
set -eu
mount -t tmpfs tmpfs /mnt
mkdir /mnt/changed /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/changed,workdir=/mnt/work /mnt/root
mount -t tmpfs tmpfs /mnt/root/run
cp "$1" /mnt/root/run/stuut-cache.deb
exec chroot /mnt/root /bin/sh -eux <<'END'
file=/etc/stuut-cache/stuut-cache.toml
dpkg -i /run/stuut-cache.deb
/usr/bin/stuut-cache --version
/usr/bin/stuut-cache check --config $file
systemd-analyze verify --man=no /usr/lib/systemd/system/stuut-cache.service
for file_of_the_package in man/man1/stuut-cache-serve.1.gz stuut-cache/openapi.json \
  bash-completion/completions/stuut-cache zsh/vendor-completions/_stuut-cache; do
  test -s "/usr/share/$file_of_the_package"
done
echo '# mine' >>$file
dpkg -i /run/stuut-cache.deb
tail -n 1 $file | grep -x '# mine'
dpkg -r stuut-cache
test ! -e /usr/bin/stuut-cache
test -e $file
dpkg -P stuut-cache
test ! -e $file
END
