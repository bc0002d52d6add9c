import pytest

from tsn_tsm_plugin.config.recipes import published_accuracies


@pytest.mark.parametrize(
    ("line", "accuracies"),
    [
        ("# published: top-1 72.83, top-5 90.65 (25 frames x 10 crops)", ("72.83", "90.65")),
        ("# published: top-1 45.58 / 47.70, top-5 75.02 / 76.12", ("45.58 / 47.70", "75.02 / 76.12")),
        ("# published: top-1 96.5 / 97.2, top-5 not printed (both)", ("96.5 / 97.2", "not printed")),
        ("# published: no accuracy in the tables; 69.5 top-1 in the paper", ("-", "-")),
        ("NOTE: top-1 72.83, top-5 90.65", ("-", "-")),
    ],
)
def test_a_recipe_states_its_published_accuracy_in_one_line_of_its_header(line, accuracies):
    recipe = f"# zoo: TSM, resnet50\n{line}\nMODEL: {{ARCH: tsm}}\n"

    assert published_accuracies(recipe) == accuracies
