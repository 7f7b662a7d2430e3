"""The three networks: parameter counts, published names, any input size, any output count."""

import pytest
import torch

from skyseg.model.u2net import SIDE_OUTPUTS, VARIANTS, build_model, for_inference

PARAMETERS = {"u2net": 44_009_869, "u2net_half": 11_017_165, "u2netp": 1_131_181}


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_count_is_the_published_one(variant):
    with torch.device("meta"):
        model = build_model(variant)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_and_their_order_are_the_published_ones(variant):
    with torch.device("meta"):
        names = list(build_model(variant).state_dict())
    assert names[0] == "stage1.rebnconvin.conv_s1.weight"
    assert names[-2:] == ["outconv.weight", "outconv.bias"]
    tops = list(dict.fromkeys(name.split(".")[0] for name in names))
    assert tops == [f"stage{k}" for k in range(1, 7)] + [f"stage{k}d" for k in range(5, 0, -1)] + [
        f"side{k}" for k in range(1, 7)
    ] + ["outconv"]
    inner = list(dict.fromkeys(n.split(".")[1] for n in names if n.startswith("stage1.")))
    assert inner == ["rebnconvin"] + [f"rebnconv{k}" for k in range(1, 8)] + [
        f"rebnconv{k}d" for k in range(6, 0, -1)
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_dilations(variant):
    with torch.device("meta"):
        model = build_model(variant)

    def dilations(stage):
        return [
            m.dilation[0]
            for m in model.get_submodule(stage).modules()
            if isinstance(m, torch.nn.Conv2d)
        ]

    assert dilations("stage1") == [1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1]
    assert dilations("stage4") == [1, 1, 1, 1, 2, 1, 1, 1]
    assert dilations("stage5") == dilations("stage5d") == [1, 1, 2, 4, 8, 4, 2, 1]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (1, 5)])
@torch.inference_mode()
def test_seven_logits_at_any_size(variant, height, width):
    torch.manual_seed(0)
    outputs = build_model(variant).eval()(torch.randn(1, 3, height, width))
    assert len(outputs) == len(SIDE_OUTPUTS) == 7
    assert {tuple(o.shape) for o in outputs} == {(1, 1, height, width)}
    assert min(o.min() for o in outputs) < 0  # logits, not probabilities


@torch.inference_mode()
def test_other_numbers_of_input_and_output_channels():
    outputs = build_model("u2netp", in_ch=4, out_ch=3).eval()(torch.randn(1, 4, 40, 40))
    assert {tuple(o.shape) for o in outputs} == {(1, 3, 40, 40)}


def test_every_parameter_gets_a_gradient():
    model = build_model("u2netp")
    sum(o.sum() for o in model(torch.randn(2, 3, 32, 32))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_for_inference_changes_only_rounding(variant):
    torch.manual_seed(0)
    model = build_model(variant).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 2)
            module.bias.normal_()
    x = torch.randn(2, 3, 64, 48)
    before = model(x)[0].sigmoid()
    folded = for_inference(model, torch.device("cpu"))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert torch.allclose(folded(x)[0].sigmoid(), before, atol=1e-4)
