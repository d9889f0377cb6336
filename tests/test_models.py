"""The network from pixels to logits: built by name or by the user, tried before it is trusted, with its arithmetic inside."""

import numpy as np
import pytest

from builder import models
from builder.errors import ConfigError, UserError
from builder.runtime import views

torch = pytest.importorskip("torch")


def test_an_unknown_architecture_names_the_nearest():
    with pytest.raises(ConfigError, match="no such architecture") as caught:
        models.create("timm/test_resnett", {}, 2, pretrained=False, image_size=None)
    assert caught.value.remedy == "did you mean 'test_resnet'?"


def test_arguments_that_an_architecture_does_not_take_are_named():
    with pytest.raises(ConfigError, match="does not take") as caught:
        models.create("timm/test_resnet", {"colour": 3}, 2, pretrained=False, image_size=None)
    assert "colour" in str(caught.value)


def test_the_arithmetic_on_pixels_is_that_of_the_data_config():
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    module = models.portable(torch.nn.Identity(), mean, std)
    pixels = torch.randint(0, 256, (2, 5, 6, 3), dtype=torch.uint8)
    expected = (pixels.float() / 255 - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(module(pixels), expected.permute(0, 3, 1, 2), atol=1e-5, rtol=1e-5)


class Answers(torch.nn.Module):
    """Answers whatever it is asked with the same."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, _):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (torch.tensor([[1.0, 2, 3], [0, 0, 0]]), None),
        ([1, 2], "a list"),
        (torch.zeros(2, 3, 4), "shape (2, 3, 4)"),
        (torch.zeros(1, 3), "shape (1, 3)"),
        (torch.zeros(2, 1000), "1000 outputs, the target has 3 classes"),
        (torch.full((2, 3), float("nan")), "not finite"),
        (torch.full((2, 3), 1 / 3), "probabilities"),
    ],
)
def test_a_network_must_answer_with_logits_of_the_classes(answer, told):
    if told is None:
        models.check(Answers(answer), 8, 8, 3, "a test")
        return
    with pytest.raises(UserError) as caught:
        models.check(Answers(answer), 8, 8, 3, "a test")
    assert told in str(caught.value)


def test_an_image_of_another_size_than_the_network_s_is_explained():
    module = models.portable(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 3)), (0, 0, 0), (1, 1, 1))
    models.check(module, 8, 8, 3, "a test")
    with pytest.raises(UserError, match="fails on images of 9x9 pixels"):
        models.check(module, 9, 9, 3, "a test")


@pytest.mark.parametrize("name", ["identity", "hflip", "rot90"])
def test_a_view_is_what_the_notebook_makes_of_the_batch(name):
    module = models.portable(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 3)), (0.5,) * 3, (0.5,) * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    rows = np.array([3, 0, 4])
    seen = views.get(name).apply(pixels[rows])
    np.testing.assert_array_equal(models.answers(module, pixels, rows, name), models.answers(module, seen, np.arange(3)))
