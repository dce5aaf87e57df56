"""Every configuration value and nothing else. Imports no torch, so that `focusvla --help` answers at once."""

from focusvla.config.checks import config_from_dict
from focusvla.config.chunks import ChunkConfig
from focusvla.config.inference import AS_TRAINED, InferenceConfig
from focusvla.config.model import (
    AS_SHOWN,
    AS_STORED,
    DINOV2_LARGE,
    SIGLIP_SO400M,
    VGGT_1B,
    AdapterConfig,
    GivenPictures,
    LanguageConfig,
    ModelConfig,
    PictureConfig,
    PolicyHeadConfig,
    TransformerConfig,
    VisionConfig,
)
from focusvla.config.serving import ServingConfig
from focusvla.config.simulation import (
    CorrectionConfig,
    DemonstrationConfig,
    EvaluationConfig,
    RecordingConfig,
    RegenerationConfig,
)
from focusvla.config.training import (
    Augmentation,
    ExecutionConfig,
    ExperimentConfig,
    TrainingConfig,
    WeightsConfig,
)

__all__ = [
    "AS_SHOWN",
    "AS_STORED",
    "AS_TRAINED",
    "DINOV2_LARGE",
    "SIGLIP_SO400M",
    "VGGT_1B",
    "AdapterConfig",
    "Augmentation",
    "ChunkConfig",
    "CorrectionConfig",
    "DemonstrationConfig",
    "EvaluationConfig",
    "ExecutionConfig",
    "ExperimentConfig",
    "GivenPictures",
    "InferenceConfig",
    "LanguageConfig",
    "ModelConfig",
    "PictureConfig",
    "PolicyHeadConfig",
    "RecordingConfig",
    "RegenerationConfig",
    "ServingConfig",
    "TrainingConfig",
    "TransformerConfig",
    "VisionConfig",
    "WeightsConfig",
    "config_from_dict",
]
