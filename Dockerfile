# `docker build --tag focusvla .`, then `docker run --rm --volume "$PWD/runs:/focusvla/runs" focusvla make quickstart`.
FROM python:3.11-slim-bookworm

# Mesa draws without a GPU or a screen. Whatever version Debian has of it will do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libegl1 libgl1 libgl1-mesa-dri libglib2.0-0 make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /focusvla
COPY . .
RUN make install

ENV MUJOCO_GL=egl
CMD ["make", "quickstart"]
