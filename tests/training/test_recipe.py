"""What a recipe leaves unsaid: settings that came later and are off."""

from pipeline.model_settings import FineTuningSettings, MembersSettings
from pipeline.training.recipe import Recipe, _of_members, _of_training
from tests.models.network_panels import small
from tests.models.settings import settings_with


def recipe(**training: object) -> Recipe:
    settings = settings_with(training=small(**training))
    return Recipe("ensemble", "", {"training": _of_training(settings.training)}, {}, {})


def test_what_is_off_is_unsaid_so_that_models_of_before_keep_their_recipe() -> None:
    off = recipe().sections["training"]
    assert not {"augmentation", "adversarial"} & set(off)
    on = recipe(adversarial=0.1, augmentation={"jitter": 0.2})
    assert on.sections["training"]["augmentation"] == {"jitter": 0.2, "scaling": 0.0, "warping": 0.0}
    assert len({recipe().hash, on.hash, recipe(adversarial=0.1).hash}) == 3


def test_a_recipe_of_before_is_tried_without_what_is_on_today() -> None:
    today = settings_with(training=small(adversarial=0.1, augmentation={"jitter": 0.2}, update_steps=9, hidden=16))
    then = recipe().applied_to(today)
    assert then.training == small(update_steps=9), "cadence stays today's; all else is the recipe's"
    assert recipe(adversarial=0.1).applied_to(settings_with(training=small())).training.adversarial == 0.1


def test_how_language_models_are_tuned_shapes_a_model_only_where_one_is_on() -> None:
    tuned = FineTuningSettings(rank=4)

    def sections(*on: str, **rooms: object) -> dict[str, object]:
        members = MembersSettings(**{name: {"on": True} for name in on})
        return _of_members(settings_with(training=small(), members=members, **rooms))

    assert sections(fine_tuning=tuned) == sections()
    assert sections("fusion", fine_tuning=tuned) != sections("fusion")
