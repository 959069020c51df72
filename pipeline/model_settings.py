"""Settings of the forecasters: how they are trained, which are members of the night's model, and how they are combined.

What belongs here: fields and their rules. What does not: what a member does with them, see `pipeline/models`.
"""

from typing import Literal

from pydantic import Field

from pipeline.closed_yaml import Closed


class AugmentationSettings(Closed):
    """How the histories of training windows are changed, so that networks do not learn them by heart; all off by default."""

    jitter: float = Field(
        default=0.0, ge=0, le=1, description="Spread of the log-normal factor on each day's units, of mean 1; 0: none."
    )
    scaling: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Spread of the log-normal factor on all units of a window's history; its levels stay. 0: none.",
    )
    warping: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of windows in which a stretch of weeks is made longer or shorter, up to twice.",
    )


class TrainingSettings(Closed):
    """How networks and LightGBM are trained, when, and within which budgets."""

    seed: int = Field(default=7, ge=0, description="Seed of everything random.")
    history_days: int = Field(default=112, ge=28, description="Days of history that the encoder reads.")
    hidden: int = Field(default=64, ge=4, description="Width of encoder and decoder.")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="Dropout of networks.")
    pretrain_steps: int = Field(
        default=0,
        ge=0,
        description="Self-supervised steps of a new network's encoder (the next day, the mean of the next days, masked spans), "
        "say 200; 0: none.",
    )
    pretrain_every_days: int = Field(
        default=182, ge=0, description="New networks start from the stored encoder until its pretraining is this old."
    )
    max_steps: int = Field(
        default=1500,
        ge=1,
        description="Most fine-tuning steps of one training, and most rounds of LightGBM where they are fewer than its own.",
    )
    max_seconds: float = Field(
        default=240.0,
        gt=0,
        description="Most seconds of one training, pretraining included, of each member that has none of its own. A network "
        "that the machine became too busy for may take up to three times as long, to make the steps without which it has "
        "learned nothing; where it cannot, it is refused.",
    )
    batch_size: int = Field(
        default=256,
        ge=1,
        description="Series windows per step; on a GPU whose memory does not hold them, in parts. LightGBM learns from so many "
        "windows for each of max_steps, at most.",
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="Peak of the one-cycle schedule (AdamW).")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW weight decay.")
    patience: int = Field(
        default=4,
        ge=1,
        description="Validations without improvement before stopping early; tens of rounds for LightGBM.",
    )
    validation_days: int = Field(default=28, ge=7, description="Length of the time-based validation window.")
    min_history_days: int = Field(default=56, ge=14, description="Shortest shop history that training accepts.")
    retrain_every_days: int = Field(
        default=91, ge=1, description="A night trains a new network when the last such training is this old."
    )
    update_every_days: int = Field(
        default=28,
        ge=1,
        description="Between new networks, a night goes on training the champion when the last training is this old. Every "
        "week was worse than every four where a shop has less than a year of history: it followed the autumn's rise too far.",
    )
    update_steps: int = Field(default=200, ge=1, description="Most steps of an update of the champion.")
    replay_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of an update's windows drawn from all past seasons, against forgetting; the others are of the "
        "days that the champion has not seen.",
    )
    augmentation: AugmentationSettings = AugmentationSettings()
    adversarial: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Adversarial training: each step learns from the histories moved the worst way, too, by this share of their "
        "length; 0: not. A step takes twice as long.",
    )


class FineTuningSettings(Closed):
    """How pretrained transformers are fine-tuned: language models, and through LoRA pretrained time-series models."""

    method: Literal["full", "top_layers", "lora", "adalora", "prefix", "prompt"] = Field(
        default="lora",
        description="Which weights learn: all, the top layers, or through PEFT: LoRA, AdaLoRA, prefix or prompt tuning.",
    )
    top_layers: int = Field(
        default=2, ge=1, description="Layers that learn with `method: top_layers`, counted from the top."
    )
    rank: int = Field(default=8, ge=1, description="Rank of LoRA, first rank of AdaLoRA.")
    alpha: int = Field(default=16, ge=1, description="Scale of LoRA and AdaLoRA.")
    target_modules: tuple[str, ...] = Field(
        default=(),
        description="Layers of a language model that LoRA and AdaLoRA adapt, by the end of their names; default: query and "
        "value of the model's attention. A name that the model lacks is refused. Chronos has members.chronos.target_modules.",
    )
    virtual_tokens: int = Field(
        default=8, ge=1, description="Tokens that prefix and prompt tuning put before the text."
    )
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="Optimiser; SGD with momentum .9.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak rate of the adapted weights.")
    head_learning_rate: float = Field(default=2e-3, gt=0, description="Peak rate of the head.")
    weight_decay: float = Field(default=0.01, ge=0, description="Weight decay.")
    warmup_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of the steps on which the rate rises; then it falls to 0."
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout of head and adapters.")
    epochs: float = Field(default=5.0, gt=0, description="Most passes over the training examples.")
    batch_size: int = Field(
        default=32, ge=1, description="Examples per step, all processes and accumulated parts together."
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        description="Parts that a batch is computed in, one after the other; each draws its own dropout and other wordings.",
    )
    processes: int = Field(
        default=1,
        ge=1,
        description="Processes on this machine that share each batch: one per GPU, or several on the CPU. The weights are "
        "those of one process that accumulates as many times the parts, but for rounding.",
    )
    gradient_checkpointing: bool = Field(default=False, description="Compute activations twice rather than keep them.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Autocast; auto: bf16 on GPUs that have it, else fp32."
    )
    patience: int = Field(default=3, ge=1, description="Validations without improvement before stopping early.")
    clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient.")
    adversarial: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Adversarial training of language models: each step learns from the word embeddings moved the worst way, "
        "too, by this share of their length; 0: not. A step takes twice as long.",
    )
    word_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Chance of each word of an item's text to be left out while a language model learns; 0: none.",
    )
    word_replacement: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Chance of each word of an item's text to be replaced, while a language model learns, by one of the shop's "
        "words that the model's embeddings put near it; 0: none.",
    )


class UntrainedMemberSettings(Closed):
    """One forecaster as a member of the night's model, one that has nothing to train."""

    on: bool = Field(description="The forecaster is a member.")


class MemberSettings(UntrainedMemberSettings):
    """One forecaster as a member of the night's model, with a budget."""

    max_seconds: float = Field(
        default=0.0, ge=0, description="Most seconds of its training; 0: those of training.max_seconds."
    )

    @property
    def has_own_budget(self) -> bool:
        """Its seconds were set for it alone."""
        return self.max_seconds > 0


class TextRegressionSettings(MemberSettings):
    """The language model that reads sales as text."""

    head: Literal["quantile", "mse", "mae", "cross_entropy", "multi_task"] = Field(
        default="quantile", description="What the language model's head answers, and the loss it learns by."
    )


class LaunchesSettings(MemberSettings):
    """The forecaster of new items."""

    tune: bool = Field(
        default=False,
        description="Fine-tune the language model on the seasons of the shop's items, by `fine_tuning`, and read seasons by it.",
    )


class ChronosSettings(MemberSettings):
    """A pretrained time-series model (extra `chronos` of this package)."""

    model: str = Field(
        default="amazon/chronos-bolt-small", description="Folder, or Hugging Face id, of Chronos-2 or Chronos-Bolt."
    )
    allow_download: bool = Field(
        default=False, description="The id may be fetched from the Hub; else it must be in the local cache."
    )
    fine_tune: bool = Field(
        default=False,
        description="Fine-tune with LoRA, by `fine_tuning`; its target modules, its rate of heads, and what it does to texts "
        "concern language models alone. Else zero-shot.",
    )
    target_modules: tuple[str, ...] = Field(
        default=(),
        description="Linear layers that LoRA adapts here, by the end of their names, instead of fine_tuning.target_modules; "
        "default: query and value of the attention (q, v). A name that the model lacks is refused.",
    )


def _untrained() -> UntrainedMemberSettings:
    return UntrainedMemberSettings(on=False)


def _off() -> MemberSettings:
    return MemberSettings(on=False)


def _on() -> MemberSettings:
    return MemberSettings(on=True)


class MembersSettings(Closed):
    """The forecasters of the house, each on or off as a member of the night's model, with a budget where it is trained."""

    seasonal_naive: UntrainedMemberSettings = Field(default_factory=_untrained, description="Next week is this week.")
    seasonal_naive_year: UntrainedMemberSettings = Field(
        default_factory=_untrained, description="This year is last year."
    )
    auto_ets: UntrainedMemberSettings = Field(default_factory=_untrained, description="AutoETS, one per series.")
    dynamic_theta: UntrainedMemberSettings = Field(
        default_factory=_untrained, description="Dynamic optimised Theta, one per series."
    )
    croston: UntrainedMemberSettings = Field(
        default_factory=_untrained, description="Croston's method for intermittent series (SBA)."
    )
    lightgbm: MemberSettings = Field(default_factory=_on, description="LightGBM quantiles on features made in SQL.")
    launches: LaunchesSettings = Field(
        default_factory=lambda: LaunchesSettings(on=True),
        description="New items, from words, price and kind, as earlier launches went; hands over to the others.",
    )
    lstm: MemberSettings = Field(default_factory=_off, description="LSTM sequence-to-sequence network.")
    transformer: MemberSettings = Field(default_factory=_off, description="Transformer over weekly patches.")
    mlp: MemberSettings = Field(default_factory=_off, description="Plain network with the hurdle-lognormal likelihood.")
    quantile_mlp: MemberSettings = Field(default_factory=_on, description="Plain network with quantiles and a mean.")
    fusion: MemberSettings = Field(
        default_factory=_off, description="Language model fine-tuned together with a series network."
    )
    text_regression: TextRegressionSettings = Field(
        default_factory=lambda: TextRegressionSettings(on=False), description="Language model that reads sales as text."
    )
    chronos: ChronosSettings = Field(
        default_factory=lambda: ChronosSettings(on=False), description="Pretrained time-series model."
    )


class EnsembleSettings(Closed):
    """How the members are combined."""

    shrinkage: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of equal weights in the fitted weights, against chance on few origins.",
    )
