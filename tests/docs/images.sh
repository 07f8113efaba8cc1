#!/usr/bin/env bash
# Gets the images that Dockerfile and docker-compose.yml name. An image that no registry provides is built from Debian's
# archive and pip's index, and labelled anyview.stand-in:
#   python      the same Python from the same release of Debian, and the wheels that the project installs
#   prometheus  Debian's package: another version, the same options and interface
#   grafana     no Grafana: a web server that serves the mounted files
# Exits with 3 where these cannot be reached either, and prints why.
set -euo pipefail
cd "$(dirname "$0")/../.."

python_image=$(sed -nE 's/^FROM (python:[^ ]+) .*/\1/p' Dockerfile)
tag=${python_image#*:} # such as 3.11-slim-bookworm
stand_in=anyview-stand-in:${tag##*-}
scratch=$(mktemp -d)
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo -n)
trap '"${as_root[@]}" rm -rf "$scratch"' EXIT

cannot_be_had() {
    echo "$1"
    exit 3
}

here() {
    docker image inspect "$1" >/dev/null 2>&1
}

# A small Debian with its Python, under a separate name.
debian() {
    here "$stand_in" && return
    command -v debootstrap >/dev/null || cannot_be_had "no registry has $python_image, and there is no debootstrap"
    "${as_root[@]}" timeout 300 debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
        "${tag##*-}" "$scratch/root" >"$scratch/log" 2>&1 || cannot_be_had "debootstrap: $(tail -n 1 "$scratch/log")"
    "${as_root[@]}" ln -s /usr/bin/python3 "$scratch/root/usr/local/bin/python"
    "${as_root[@]}" tar -C "$scratch/root" -c . |
        docker import --change 'LABEL anyview.stand-in=yes' --change 'CMD ["python"]' - "$stand_in" >/dev/null
    docker run --rm "$stand_in" python --version | grep -F "Python ${tag%%-*}." >/dev/null
}

# Wheels are collected outside the image, where pip has its index and certificates; inside, it needs neither.
with_wheels() {
    local build
    mapfile -t build < <(python3 -c 'import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")')
    timeout 600 python3 -m pip download --quiet --dest "$scratch/python/wheels" --python-version "${tag%%-*}" \
        --only-binary :all: --constraint constraints.txt "${build[@]}" '.[grpc,s3,training]' 2>"$scratch/log" ||
        cannot_be_had "pip download: $(tail -n 1 "$scratch/log")"
    printf '[global]\nno-index = true\nfind-links = /wheels\n' >"$scratch/python/pip.conf"
    docker build --quiet --tag "$1" --file - "$scratch/python" >/dev/null <<END
FROM $stand_in
COPY pip.conf /etc/
COPY wheels /wheels
END
}

with_prometheus() {
    docker build --quiet --network host --tag "$1" - >/dev/null <<END
FROM $stand_in
WORKDIR /prometheus
RUN apt-get update -qq && apt-get download -qq prometheus && \\
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x -C / ./usr/bin/prometheus && \\
    rm prometheus_*.deb && chown nobody .
USER nobody
ENTRYPOINT ["prometheus"]
END
}

with_a_port() {
    docker build --quiet --tag "$1" - >/dev/null <<END
FROM $stand_in
STOPSIGNAL SIGINT
CMD ["python", "-m", "http.server", "3000", "--directory", "/var/lib/grafana"]
END
}

for image in "$python_image" $(sed -nE 's/^ +image: ([^ ]+:[^ ]+)$/\1/p' docker-compose.yml); do
    here "$image" || timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 || {
        debian
        case $image in
        python:*) with_wheels "$image" ;;
        prom/prometheus:*) with_prometheus "$image" ;;
        grafana/grafana:*) with_a_port "$image" ;;
        *) cannot_be_had "no registry has $image" ;;
        esac
    }
done
