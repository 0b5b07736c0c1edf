"""The rules, one per file, and their registration."""

from __future__ import annotations

from lightning_diag.rules.augmentation_too_strong import AugmentationTooStrong
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.batch_norm_small_batch import BatchNormSmallBatch
from lightning_diag.rules.checkpoint_untrained import CheckpointUntrained
from lightning_diag.rules.class_collapse import ClassCollapse
from lightning_diag.rules.class_imbalance import ClassImbalance
from lightning_diag.rules.class_missing_in_training import ClassMissingInTraining
from lightning_diag.rules.class_missing_in_validation import ClassMissingInValidation
from lightning_diag.rules.class_never_predicted import ClassNeverPredicted
from lightning_diag.rules.class_weights_mismatch import ClassWeightsMismatch
from lightning_diag.rules.clipping_removes_updates import ClippingRemovesUpdates
from lightning_diag.rules.constant_initialisation import ConstantInitialisation
from lightning_diag.rules.ctc_blank_collapse import CTCBlankCollapse
from lightning_diag.rules.ctc_blank_index import CTCBlankIndex
from lightning_diag.rules.ctc_decoder import CTCDecoder
from lightning_diag.rules.ctc_infeasible import CTCInfeasible
from lightning_diag.rules.ctc_lengths import CTCInputLengths
from lightning_diag.rules.ctc_log_probs import CTCLogProbs
from lightning_diag.rules.ctc_memorised import CTCMemorised
from lightning_diag.rules.ctc_never_emitted import CTCNeverEmitted
from lightning_diag.rules.ctc_single_token import CTCSingleToken
from lightning_diag.rules.ctc_targets import CTCTargets
from lightning_diag.rules.ctc_vocabulary import CTCVocabulary
from lightning_diag.rules.ctc_warm_up import CTCWarmUp
from lightning_diag.rules.dead_relu import DeadRelu
from lightning_diag.rules.degenerate_inputs import DegenerateInputs
from lightning_diag.rules.drop_after_resume import DropAfterResume
from lightning_diag.rules.evaluation_in_train_mode import EvaluationInTrainMode
from lightning_diag.rules.exploding_gradient import ExplodingGradient
from lightning_diag.rules.frozen_untrained_backbone import FrozenUntrainedBackbone
from lightning_diag.rules.generalisation_gap import GeneralisationGap
from lightning_diag.rules.gradients_never_zeroed import GradientsNeverZeroed
from lightning_diag.rules.inputs_not_normalised import InputsNotNormalised
from lightning_diag.rules.label_noise import LabelNoise
from lightning_diag.rules.labels_random import LabelsRandom
from lightning_diag.rules.leakage import Leakage
from lightning_diag.rules.learning_rate_decayed_too_fast import LearningRateDecayedTooFast
from lightning_diag.rules.learning_rate_jump import LearningRateJump
from lightning_diag.rules.learning_rate_oscillation import LearningRateOscillation
from lightning_diag.rules.learning_rate_too_high import LearningRateTooHigh
from lightning_diag.rules.learning_rate_too_low import LearningRateTooLow
from lightning_diag.rules.loaded_module_unused import LoadedModuleUnused
from lightning_diag.rules.loss_over_wrong_axis import LossOverWrongAxis
from lightning_diag.rules.loss_sign import LossSign
from lightning_diag.rules.metric_covers_part_of_validation import MetricCoversPartOfValidation
from lightning_diag.rules.never_generalised import NeverGeneralised
from lightning_diag.rules.non_finite_inputs import NonFiniteInputs
from lightning_diag.rules.non_finite_loss import NonFiniteLoss
from lightning_diag.rules.not_learning import NotLearning
from lightning_diag.rules.over_confidence import OverConfidence
from lightning_diag.rules.overfitting import Overfitting
from lightning_diag.rules.oversampled_minority import OversampledMinority
from lightning_diag.rules.parameters_missing_from_optimizer import ParametersMissingFromOptimizer
from lightning_diag.rules.pretrained_features_destroyed import PretrainedFeaturesDestroyed
from lightning_diag.rules.pretrained_input_mismatch import PretrainedInputMismatch
from lightning_diag.rules.softmax_before_cross_entropy import SoftmaxBeforeCrossEntropy
from lightning_diag.rules.sorted_batches import SortedBatches
from lightning_diag.rules.split_shift import SplitShift
from lightning_diag.rules.still_improving import StillImproving
from lightning_diag.rules.stopped_too_early import StoppedTooEarly
from lightning_diag.rules.target_missed import TargetMissed
from lightning_diag.rules.training_in_eval_mode import TrainingInEvalMode
from lightning_diag.rules.training_set_too_small import TrainingSetTooSmall
from lightning_diag.rules.underfitting import Underfitting
from lightning_diag.rules.validation_is_training import ValidationIsTraining
from lightning_diag.rules.validation_labels_wrong import ValidationLabelsWrong
from lightning_diag.rules.validation_set_too_small import ValidationSetTooSmall
from lightning_diag.rules.validation_unmoved import ValidationUnmoved
from lightning_diag.rules.vanishing_gradient import VanishingGradient
from lightning_diag.rules.weight_decay_too_high import WeightDecayTooHigh
from lightning_diag.rules.weights_not_loaded import WeightsNotLoaded
from lightning_diag.rules.weights_partly_loaded import WeightsPartlyLoaded

RULES: tuple[type[Rule], ...] = (
    NonFiniteLoss,  # LD101
    LearningRateTooHigh,  # LD102
    LearningRateTooLow,  # LD103
    LearningRateOscillation,  # LD104
    LearningRateDecayedTooFast,  # LD105
    ExplodingGradient,  # LD106
    VanishingGradient,  # LD107
    WeightDecayTooHigh,  # LD108
    ParametersMissingFromOptimizer,  # LD109
    FrozenUntrainedBackbone,  # LD110
    GradientsNeverZeroed,  # LD111
    ClippingRemovesUpdates,  # LD112
    DeadRelu,  # LD113
    ConstantInitialisation,  # LD114
    NotLearning,  # LD115
    LossSign,  # LD116
    Overfitting,  # LD201
    NeverGeneralised,  # LD202
    GeneralisationGap,  # LD203
    Underfitting,  # LD204
    StillImproving,  # LD205
    StoppedTooEarly,  # LD206
    OverConfidence,  # LD207
    TargetMissed,  # LD208
    ClassCollapse,  # LD301
    ClassNeverPredicted,  # LD302
    ClassImbalance,  # LD303
    ClassMissingInValidation,  # LD304
    ClassMissingInTraining,  # LD305
    ClassWeightsMismatch,  # LD306
    OversampledMinority,  # LD307
    CTCBlankCollapse,  # LD401
    CTCBlankIndex,  # LD402
    CTCInfeasible,  # LD403
    CTCLogProbs,  # LD404
    CTCInputLengths,  # LD405
    CTCSingleToken,  # LD406
    CTCMemorised,  # LD407
    CTCVocabulary,  # LD408
    CTCTargets,  # LD409
    CTCDecoder,  # LD410
    CTCNeverEmitted,  # LD411
    CTCWarmUp,  # LD412
    WeightsNotLoaded,  # LD501
    WeightsPartlyLoaded,  # LD502
    DropAfterResume,  # LD503
    PretrainedFeaturesDestroyed,  # LD504
    CheckpointUntrained,  # LD505
    LearningRateJump,  # LD506
    PretrainedInputMismatch,  # LD507
    LoadedModuleUnused,  # LD508
    ValidationSetTooSmall,  # LD601
    TrainingSetTooSmall,  # LD602
    Leakage,  # LD603
    SplitShift,  # LD604
    ValidationIsTraining,  # LD605
    LabelNoise,  # LD606
    LabelsRandom,  # LD607
    ValidationLabelsWrong,  # LD608
    InputsNotNormalised,  # LD609
    NonFiniteInputs,  # LD610
    DegenerateInputs,  # LD611
    SortedBatches,  # LD612
    AugmentationTooStrong,  # LD613
    EvaluationInTrainMode,  # LD701
    TrainingInEvalMode,  # LD702
    SoftmaxBeforeCrossEntropy,  # LD703
    LossOverWrongAxis,  # LD704
    BatchNormSmallBatch,  # LD705
    MetricCoversPartOfValidation,  # LD706
    ValidationUnmoved,  # LD707
)
"""Every rule, one line each, by code."""

__all__ = ["RULES", "CannotTellError", "Rule"]
