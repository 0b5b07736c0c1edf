"""Networks of the pretraining benchmark: own ones of five kinds, timm and transformers with random weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 15
CLASSES = 10


class Residual(nn.Module):
    def __init__(self, width, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self, classes=CLASSES):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1, self.layer2 = nn.Sequential(Residual(16, 16, 1)), nn.Sequential(Residual(16, 32, 2))
        self.layer3 = nn.Sequential(Residual(32, 64, 2), Residual(64, 64, 1))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        return self.fc(self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, classes=CLASSES, width=64):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.pos = nn.Parameter(0.02 * torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*[Block(width) for _ in range(4)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        return self.head(self.norm(self.blocks(x))[:, 0])


class CRNN(nn.Module):
    def __init__(self, classes=CLASSES):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.rnn = nn.LSTM(32, 48, bidirectional=True, batch_first=True)
        self.out = nn.Linear(96, classes)

    def forward(self, x):
        return self.out(self.rnn(self.conv(x).mean(2).transpose(1, 2))[0]).mean(1)


class GRU(nn.Module):
    """No norm layer at all: nothing says whether it is fresh."""

    def __init__(self, classes=CLASSES):
        super().__init__()
        self.proj = nn.Linear(96, 64)
        self.rnn = nn.GRU(64, 64, num_layers=2, batch_first=True)
        self.classifier = nn.Linear(64, classes)

    def forward(self, x):
        return self.classifier(self.rnn(self.proj(x.transpose(1, 2).flatten(2)))[0][:, -1])


class Video(nn.Module):
    def __init__(self, classes=CLASSES):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(3, 12, 3, (1, 2, 2), 1), nn.GroupNorm(3, 12), nn.ReLU(),
            nn.Conv3d(12, 24, 3, (1, 2, 2), 1), nn.GroupNorm(3, 24), nn.ReLU(),
            nn.Conv3d(24, 48, 3, (1, 2, 2), 1), nn.GroupNorm(3, 48), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(48, classes)

    def forward(self, x):
        return self.head(self.features(x[:, :, None].expand(-1, -1, 2, -1, -1)).mean((2, 3, 4)))


class Bert(nn.Module):
    """A transformers encoder over patches, so that all networks take the same input."""

    def __init__(self, classes=CLASSES):
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(
            vocab_size=200, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96,
            max_position_embeddings=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(48, classes)

    def forward(self, x):
        tokens = (x.mean(1)[:, ::8, ::8].flatten(1) * 20).long().abs() % 200
        return self.classifier(self.bert(input_ids=tokens).last_hidden_state[:, 0])


class Wav2Vec(nn.Module):
    """A transformers speech encoder: weight norm in its positional convolution."""

    def __init__(self, classes=CLASSES):
        super().__init__()
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        config = Wav2Vec2Config(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=(16, 16),
            conv_kernel=(10, 3), conv_stride=(5, 2), num_feat_extract_layers=2, num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2, mask_time_prob=0.0, hidden_dropout=0.0, attention_dropout=0.0,
            feat_proj_dropout=0.0, layerdrop=0.0,
        )  # fmt: skip
        self.wav2vec2 = Wav2Vec2Model(config)
        self.lm_head = nn.Linear(32, classes)

    def forward(self, x):
        return self.lm_head(self.wav2vec2(x.flatten(1)[:, :800]).last_hidden_state).mean(1)


def timm_network(name: str) -> Callable[[int], nn.Module]:
    def make(classes=CLASSES):
        import timm

        return timm.create_model(name, num_classes=classes)

    return make


MAKERS: dict[str, Callable[..., nn.Module]] = {
    "ResNet": ResNet,
    "ViT": ViT,
    "CRNN": CRNN,
    "GRU": GRU,
    "3D convolution": Video,
    "timm ConvNeXt": timm_network("test_convnext"),
    "timm EfficientNet": timm_network("test_efficientnet"),
    "transformers BERT": Bert,
    "transformers Wav2Vec2": Wav2Vec,
}


@dataclass
class Network:
    """One architecture with the states of its life.

    Attributes:
        make: ``make(classes) -> module``. init: before stage 1. source: after it. ema: average over it. other: another run.
    """

    name: str
    make: Callable[..., nn.Module]
    init: nn.Module = field(init=False)
    source: nn.Module = field(init=False)
    ema: nn.Module = field(init=False)
    other: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.init = seeded(self.make, 0)
        self.source, self.ema = pretrain(copy.deepcopy(self.init), seed=0)
        self.other, _ = pretrain(seeded(self.make, 77), seed=9)

    def fresh(self, classes: int = CLASSES) -> nn.Module:
        return seeded(lambda: self.make(classes), 5)

    @property
    def head(self) -> str:
        """Name of the output layer."""
        return (
            list(dict(self.source.named_modules()))[-1]
            if self.name.startswith("timm")
            else list(dict(self.source.named_children()))[-1]
        )

    @property
    def has_norm(self) -> bool:
        return any(p.dim() == 1 and n.endswith("weight") for n, p in self.source.named_parameters())


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def batch(seed: int = 0, n: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 32, 32, generator=generator), torch.arange(n) % 3


def pretrain(module: nn.Module, seed: int) -> tuple[nn.Module, nn.Module]:
    """A short real training; the module and its exponential moving average."""
    ema = copy.deepcopy(module)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(STEPS):
            x, y = batch(seed * 100 + step)
            optimizer.zero_grad()
            F.cross_entropy(module(x), y).backward()
            optimizer.step()
            for mean, now in zip(ema.state_dict().values(), module.state_dict().values(), strict=True):
                mean.copy_(0.8 * mean + 0.2 * now if mean.is_floating_point() else now)
    return module, ema
