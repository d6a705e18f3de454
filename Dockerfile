# docker build -t unblur .                                    for the CPU
# docker build -t unblur:cuda --build-arg TORCH=cu130 .       for NVIDIA GPUs: docker run --gpus all
# docker run --rm -v "$PWD:/work" unblur in.mp4 out.mp4
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE THIRD-PARTY.md constraints.txt ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim
ARG TORCH=cpu
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir -c /tmp/constraints.txt torch --index-url "https://download.pytorch.org/whl/${TORCH}"
COPY --from=build /wheel /tmp/wheel
RUN pip install --no-cache-dir -c /tmp/constraints.txt /tmp/wheel/*.whl && rm -r /tmp/wheel \
    && useradd --create-home unblur
USER unblur
ENV UNBLUR_HOME=/home/unblur/.unblur
WORKDIR /work
ENTRYPOINT ["unblur"]
CMD ["--help"]
