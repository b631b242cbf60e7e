# NoisySGD on the CPU: docker build --tag noisysgd . && docker run --rm --volume "$PWD:/work" noisysgd noisysgd-train CONFIG
FROM debian:bookworm AS build
COPY scripts/common.sh scripts/install_packages.sh /source/scripts/
RUN /source/scripts/install_packages.sh git dpkg-dev file
COPY . /source
WORKDIR /source
RUN cmake --preset package -B /build && cmake --build /build && cd /build && cpack -G DEB

FROM debian:bookworm
COPY --from=build /build/*.deb /packages/
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes /packages/noisysgd_*.deb \
    && rm -r /packages /var/lib/apt/lists/*
WORKDIR /work
CMD ["noisysgd-train", "/usr/share/noisysgd/configs/quickstart.json"]
