"""docs/notebook/read.R in a real R, against what h5py reads."""

import os
import re
import subprocess

import h5py
import numpy as np
import pytest

from tests.documents import DOCS, ROOT
from tests.steps import DEMO, Sample

from .conftest import HERE

pytestmark = pytest.mark.site

NOT_TO_BE_HAD = 75
# doubles as their bytes, text a line each: nothing is rounded on the way
WRITE = """
numbers <- function(x, path) writeBin(as.double(x), path, size = 8)
numbers(rows$protein_len, "protein_len")
numbers(rows$has_esm2, "has_esm2")
writeLines(rownames(rows), "ids")
writeLines(as.character(rows$record_id), "record_id")
writeLines(as.character(rows$frame), "frame")
writeLines(rownames(records), "records")
numbers(records$length, "length")
# R keeps a matrix by columns
all <- read_vectors("S1.h5", "X_dnaberts")
numbers(t(all), "X_dnaberts")
numbers(t(read_vectors("S1.h5")), "X_esm2")
numbers(t(esm2), "standardised")
writeLines(rownames(esm2), "esm2_ids")
stopifnot(identical(rownames(all), rownames(rows)))
stopifnot(identical(read_vectors("S1.h5", "X_dnaberts", 5), all[5, , drop = FALSE]))
stopifnot(identical(read_vectors("S1.h5", "X_dnaberts", c(9, 2)), all[c(9, 2), ]))
stopifnot(identical(dim(read_vectors("S1.h5", rows = integer(0))), c(0L, ncol(all))))
stopifnot(identical(dim(axes), c(nrow(esm2), 2L)))
empty <- read_rows("empty.h5")
stopifnot(identical(dim(empty), c(0L, ncol(rows))), identical(names(empty), names(rows)))
stopifnot(identical(sapply(empty, class), sapply(rows, class)))
stopifnot(identical(dim(read_vectors("empty.h5")), c(0L, ncol(all))))
"""


@pytest.fixture(scope="module")
def rscript(tmp_path_factory):
    log = tmp_path_factory.mktemp("r") / "up.log"
    up = subprocess.run([HERE / "r_up.sh", log], capture_output=True, text=True, check=False)
    if up.returncode == NOT_TO_BE_HAD:
        pytest.skip(f"no package of R to be had: {up.stderr.strip()}")
    assert up.returncode == 0, up.stderr
    return up.stdout.strip()


def make_result(home, weights, name, *files):
    sample = Sample(home, weights, name)
    assert sample.split(*files) == 0
    sample.embed()
    assert sample.collect() == 0
    return sample.result


def test_r_reads_the_ids_columns_and_vectors_that_h5py_reads(rscript, tiny_weights, tmp_path):
    sequences = [DEMO / "lambda.fna.gz", DEMO / "NC_005816.fna.gz"]
    (tmp_path / "nothing.fa").touch()
    make_result(tmp_path, tiny_weights, "empty", tmp_path / "nothing.fa")
    result = make_result(tmp_path, tiny_weights, "S1", *sequences)
    page = (DOCS / "notebook" / "README.md").read_text()
    (code,) = re.findall(r"```r\n(.*?)```", page, re.DOTALL)
    assert 'source("docs/' in code
    (tmp_path / "page.R").write_text(code.replace('source("docs/', f'source("{ROOT}/docs/') + WRITE)
    done = subprocess.run(
        [rscript, "--vanilla", "page.R"],
        cwd=tmp_path,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    def lines(name):
        return (tmp_path / name).read_text().splitlines()

    def numbers(name):
        return np.fromfile(tmp_path / name)

    with h5py.File(result) as file:
        obs = file["obs"]
        ids = obs["row_id"].asstr()[:].tolist()
        assert lines("ids") == ids
        for name in ("record_id", "frame"):
            assert lines(name) == obs[name]["categories"].asstr()[:][obs[name]["codes"][:]].tolist()
        for name in ("protein_len", "has_esm2"):
            assert np.array_equal(numbers(name), obs[name][:])
        assert lines("records") == file["uns/records/record_id"].asstr()[:].tolist()
        assert np.array_equal(numbers("length"), file["uns/records/length"][:])

        for name in ("X_esm2", "X_dnaberts"):
            vectors = file["obsm"][name][:].astype(np.float64)
            assert np.array_equal(numbers(name), vectors.ravel(), equal_nan=True)
        proteins = file["obsm/X_esm2"][:][obs["has_esm2"][:]].astype(np.float64)
        assert 0 < len(proteins) < len(ids)
        assert lines("esm2_ids") == ids[: len(proteins)]
        standardised = (proteins - proteins.mean(axis=0)) / proteins.std(axis=0, ddof=1)
        assert np.allclose(numbers("standardised"), standardised.ravel(), atol=1e-9)
