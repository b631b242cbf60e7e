#!/usr/bin/env bash
# Tries the Debian packages on a bare system: makes them, installs them in a new chroot of this machine's release, runs
# the quick start there, builds docs/examples/extending against the installed library and runs its test and benchmark.
# Needs root, debootstrap and a Debian mirror; NSGD_MIRROR is its address. Takes some minutes. Exits with 77 where a
# chroot cannot be made.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}"
  exit 0
fi
cannot() { # REASON
  echo "The packages cannot be tried here: $1" >&2
  exit 77
}
may_mount() {
  local place
  place=$(mktemp -d) && mount -t proc proc "$place" 2>/dev/null && umount "$place" && mknod "$place/null" c 1 3 2>/dev/null &&
    rm -r "$place"
}
if ((EUID != 0)); then cannot "this needs root"; fi
if ! command -v debootstrap >/dev/null; then cannot "debootstrap is missing (apt-get install debootstrap)"; fi
if ! may_mount; then cannot "it does not allow mount or mknod"; fi

preset=package
packages=$root/build/$preset
bare=$root/build/package_check
# shellcheck source=/dev/null
release=$(source /etc/os-release && echo "$VERSION_CODENAME")

in_chroot() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/srv LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    OMP_WAIT_POLICY=passive chroot "$bare" "$@"
}
# Commands of a stage are joined by &&: set -e does not act in them.
leave() {
  if mountpoint --quiet "$bare/proc"; then
    umount "$bare/proc"
  fi
}
make_packages() {
  rm -f "$packages"/*.deb &&
    cmake --build "$packages" --parallel "$cores" && (cd "$packages" && cpack -G DEB)
}
make_chroot() {
  rm -rf "$bare" &&
    debootstrap --variant=minbase "$release" "$bare" ${NSGD_MIRROR:+"$NSGD_MIRROR"} &&
    in_chroot apt-get update
}
install_packages() {
  cp "$packages"/*.deb "$bare/tmp/" &&
    in_chroot apt-get install --yes --no-install-recommends "$@"
}
remove_packages() { # nothing of them stays
  in_chroot apt-get purge --yes noisysgd libnoisysgd-dev &&
    [[ -z $(find "$bare/usr" -iname '*noisysgd*' -o -iname '*nsgd*') ]]
}
quick_start() {
  in_chroot ldd /usr/bin/noisysgd-train | grep openblas-openmp &&
    in_chroot noisysgd-train /usr/share/noisysgd/configs/quickstart.json --output /srv/runs/quickstart &&
    in_chroot noisysgd-report /srv/runs/quickstart --output /srv/report.html &&
    in_chroot test -s /usr/share/man/man1/noisysgd-train.1.gz -a -s /srv/report.html
}
example() {
  rm -rf "$bare/srv/extending" &&
    cp -r "$root/docs/examples/extending" "$bare/srv/" &&
    in_chroot cmake -S /srv/extending -B /srv/build -G Ninja &&
    in_chroot cmake --build /srv/build &&
    in_chroot /srv/build/swish-train /srv/extending/experiment.json --device cpu --output /srv/runs/extending &&
    in_chroot ctest --test-dir /srv/build --output-on-failure &&
    in_chroot /srv/build/swish-bench --rounds 3 --bars
}

configure "$preset"
stage "Making the packages" package.log make_packages
leave
trap leave EXIT
stage "Installing a bare $release" chroot.log make_chroot || cannot "no bare system could be installed"
mount -t proc proc "$bare/proc" # oneDNN and the record of a run read it
program=$(basename "$packages"/noisysgd_*.deb)
library=$(basename "$packages"/libnoisysgd-dev_*.deb)
stage "Installing $program" install_package.log install_packages "/tmp/$program"
stage "Running the quick start" quick_start.log quick_start
tail -n 8 "$root/build/quick_start.log"
stage "Installing $library" install_package.log install_packages "/tmp/$library" g++ cmake ninja-build
stage "Building the extending example against it" example.log example
stage "Removing the packages" remove_package.log remove_packages
