"""What is known about the data of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_diag.history.counts import Count


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """What is known about one split of the data.

    Attributes:
        size: samples in the data set; None for an iterable data set.
        batches: batches per epoch; batch_size: samples per batch.
        class_counts: samples per class index (from the targets of one epoch, or the data set's labels).
        drawn_counts: samples per class that were really drawn in the first epoch (differs under a sampler).
        sampler: class name of the sampler; shuffled: whether the order is random; drop_last as in the loader.
        replacement: whether the sampler may draw a sample more than once per epoch; None when it does not say.
        input_mean, input_std, input_min, input_max: moments of the sampled inputs, over all features.
        feature_std_min, feature_std_max: extremes of the per-feature standard deviation.
        feature_mean_absmax: largest absolute per-feature mean.
        constant_features: share of features that do not vary in the sample.
        nonfinite_inputs: number of sampled samples with NaN or infinite inputs.
        distinct: distinct samples among ``hashed`` fingerprinted ones.
        repeated: of ``hashed``, those that are not the only one of their kind; None for inputs that are no indices (tokens).
        label_purity: mean share of a batch taken by its most common class; purity_expected: the same under shuffling;
            purity_sd: standard deviation of that mean under shuffling.
        features: values per sample of the inputs.
        nearest_same: samples whose nearest other sample has their label, of the sampled ones that were compared: what the
            inputs allow without a model.
        augmented: whether the data set gave different inputs when a few samples (8 are enough) were fetched twice.
    """

    size: int | None = None
    batches: int | None = None
    batch_size: int | None = None
    class_counts: tuple[int, ...] = ()
    drawn_counts: tuple[int, ...] = ()
    sampler: str | None = None
    shuffled: bool | None = None
    replacement: bool | None = None
    drop_last: bool | None = None
    input_mean: float | None = None
    input_std: float | None = None
    input_min: float | None = None
    input_max: float | None = None
    feature_std_min: float | None = None
    feature_std_max: float | None = None
    feature_mean_absmax: float | None = None
    constant_features: float | None = None
    nonfinite_inputs: int | None = None
    sampled: int | None = None
    distinct: int | None = None
    hashed: int | None = None
    repeated: int | None = None
    label_purity: float | None = None
    purity_expected: float | None = None
    purity_sd: float | None = None
    features: int | None = None
    nearest_same: Count | None = None
    augmented: bool | None = None

    @property
    def redrawn(self) -> bool:
        """Whether one epoch may hold a sample several times: then equal samples in it are not copies in the data."""
        return self.sampler == "WeightedRandomSampler" if self.replacement is None else self.replacement

    @property
    def copies(self) -> float | None:
        """Share of the fingerprinted samples that are exact copies of others; None where that is not known."""
        if not self.hashed or self.distinct is None or self.redrawn:
            return None
        return 1 - self.distinct / self.hashed

    @property
    def repeats(self) -> Count | None:
        """How often a further sample of the same source would be one of these (Good 1953); None where it is not known.

        Short token sequences recur without being copied. The share of those that are not the only one of their kind
        estimates it; that of the copies is too small, because it counts the first of each kind as new.
        """
        if self.repeated is None or not self.hashed or self.repeated > self.hashed or self.redrawn:
            return None
        return Count(k=self.repeated, n=self.hashed)

    @property
    def sorted_batches(self) -> bool:
        """Whether batches hold far more of one class than shuffling gives: then a few batches are no sample of the split."""
        if self.label_purity is None or self.purity_expected is None:
            return False
        return self.label_purity - self.purity_expected > max(0.1, 6 * (self.purity_sd or 0.0))


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Both splits and how they relate.

    Attributes:
        overlap: validation samples whose fingerprint is also in training, of the validation samples fingerprinted.
        overlap_expected: share of validation samples that would match by chance if features were independent.
        near_overlap: validation samples nearer to a training sample than half the distance that 1 % of the training
            samples have to their own nearest neighbour, of those compared; without copies fewer than 1 %.
        low_cardinality: True when exact duplicates are expected by chance (few distinct feature values).
        shift_smd: mean standardised difference of feature means between the splits.
        shift_pvalue: p-value of the two-sample test (None when not run).
        shift_auc: area under the ROC of a classifier that tells the splits apart (0.5 = cannot).
    """

    train: SplitFacts = field(default_factory=SplitFacts)
    val: SplitFacts = field(default_factory=SplitFacts)
    overlap: Count | None = None
    low_cardinality: bool = False
    overlap_expected: float | None = None
    near_overlap: Count | None = None
    shift_smd: float | None = None
    shift_pvalue: float | None = None
    shift_auc: float | None = None
