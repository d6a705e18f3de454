"""Rendered clips out of video files."""

from __future__ import annotations

import zipfile

import pytest
import torch

from unblur.data.codec import decode
from unblur.errors import UsageError
from unblur.evaluation.encoded import FACTORS, FOLDER, encoded_clips, write_archive
from unblur.evaluation.suites import SUITES, Sources
from unblur.metrics import psnr

RENDERED = [name for name, suite in SUITES.items() if "encoded" in suite.takes]


@pytest.mark.parametrize("suite", RENDERED)
@pytest.mark.parametrize("factor", FACTORS)
def test_each_clip_ships_encoded(suite, factor):
    clips = len(SUITES[suite].clips(Sources()))
    with zipfile.ZipFile(FOLDER / f"{suite}-{factor}.zip") as archive:
        assert archive.namelist() == [f"{i:02}.mkv" for i in range(clips)]
        assert decode(archive.read("00.mkv")).shape == (7, 3, 256, 256)


def test_encoded_clips_are_the_suite_with_a_codec_between():
    plain = SUITES["synth-motion"].clips(Sources())[1]()
    fine, coarse = (SUITES["synth-motion"].clips(Sources(encoded=f))[1]() for f in FACTORS)
    assert torch.equal(fine.sharp, plain.sharp)
    near, far = (float(psnr(x.blurred, plain.blurred).mean()) for x in (fine, coarse))
    assert 26 < far < near - 1
    assert near < 50


def test_only_what_ships_can_be_asked_for():
    for sources in (Sources(encoded=40), Sources(encoded=23, scale=2)):
        with pytest.raises(UsageError, match="ship"):
            SUITES["synth-focus"].clips(sources)


def test_an_archive_can_be_made_anew(tmp_path):
    makers = SUITES["synth-motion"].clips(Sources())[:1]
    for name in ("a.zip", "b.zip"):
        write_archive(makers, tmp_path / name, 29)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert len(encoded_clips(makers, "synth-motion", 29)) == 1
