"""Several processes that share a batch end where one process ends."""

import pytest
import torch

from pipeline.errors import ModelError
from pipeline.models.finetuning.distributed import Peers, launch
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.plan import Course
from tests.models.finetuning.toys import Plain, plain_task, quick

SETTINGS = quick(epochs=3)


def train(peers, folder, settings):
    """What each process does; the first leaves its weights in the checkpoint."""
    model = Plain()
    if peers.rank:  # as after another initialisation: all take the weights of the first
        torch.nn.init.zeros_(model.head.weight)
    Loop(model, plain_task(model), settings, Course(folder, "mark", max_seconds=600, peers=peers)).run()


def refuse(peers):
    if peers.rank == 1:
        raise ModelError("no such thing; mend fine_tuning.something")
    peers.sum(1.0)


def finished(folder, settings):
    """The model of a finished training, read from its checkpoint."""
    model = Plain()
    Loop(model, plain_task(model), settings, Course(folder, "mark", max_seconds=600)).run()
    return model


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path):
    """Dropout too: a part draws what it draws, whichever process computes it."""
    launch(train, 2, "cpu", 2, tmp_path / "two", SETTINGS)
    train(Peers(), tmp_path / "one", SETTINGS.model_copy(update={"accumulate": 2}))
    two, one = (finished(tmp_path / name, SETTINGS) for name in ("two", "one"))
    start = Plain()
    for name, weight in one.state_dict().items():
        torch.testing.assert_close(weight, two.state_dict()[name], atol=1e-5, rtol=1e-4)
        assert not torch.equal(weight, start.state_dict()[name])


@pytest.mark.slow
def test_what_a_process_refuses_is_said(tmp_path):
    with pytest.raises(ModelError, match=r"^no such thing; mend fine_tuning\.something$"):
        launch(refuse, 2, "cpu", 2)


@pytest.mark.skipif(torch.cuda.device_count() > 7, reason="this machine has GPUs enough")
def test_more_processes_than_gpus_are_refused():
    with pytest.raises(ModelError, match=r"8 processes need a GPU each.*fine_tuning\.processes"):
        launch(refuse, 8, "cuda", 2)


def test_alone_nothing_is_shared():
    peers = Peers()
    assert (peers.sum(2.0), peers.greatest(3.0), peers.of_first(4.0)) == (2.0, 3.0, 4.0)
