from itertools import combinations
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.workloads.tasks.ffe.plan import LONGEST, MOST, SHORTEST, Block, fault, own_words
from backend.workloads.tasks.ffe.planning import plan
from tests.unit.tasks.ffe_goals import GOALS

LEVELS = ("low", "medium", "high")


def titles(title: str, description: str = "", level: str = "medium") -> list[str]:
    return [block.title for block in plan(title, description, level)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal[0])
def test_a_plan_keeps_the_rules_of_every_plan(goal: tuple[str, str], level: str) -> None:
    assert fault(plan(*goal, level), own_words(*goal)) is None


@pytest.mark.parametrize("level", LEVELS)
def test_no_two_goals_share_a_block_title(level: str) -> None:
    of_goal = {goal: {title.casefold() for title in titles(*goal, level)} for goal in GOALS}
    for one, other in combinations(GOALS, 2):
        assert not of_goal[one] & of_goal[other], (one, other)


def test_goals_that_say_what_is_to_be_done_get_it_as_blocks() -> None:
    made = titles(
        "Migrate the billing service to PostgreSQL 16",
        "It must stay reachable. Update the connection strings, dump the old database and "
        "rehearse the restore.",
    )
    assert made == [
        "List every part of the billing service that is affected",
        "Update the connection strings for the billing service",
        "Dump the old database for the billing service",
        "Rehearse the restore for the billing service",
        "Check the billing service after the change",
    ]


def test_the_items_of_a_list_become_blocks_and_share_them_where_there_are_many() -> None:
    items = ["venue", "catering", "photographer", "invitations", "music", "rings", "speeches"]
    blocks = plan("Plan our wedding", "\n".join(f"- {item}" for item in items), "high")
    assert len(blocks) == MOST
    told = " ".join(block.title for block in blocks)
    assert all(item in told for item in items)


def test_an_unknown_word_before_a_determiner_is_a_verb() -> None:
    made = titles("Build a bird house", "Saw the boards, drill the hole and glue a roof on top.")
    assert made[1:4] == [
        "Saw the boards for the bird house",
        "Drill the hole for the bird house",
        "Glue a roof on top for the bird house",
    ]


def test_numbered_steps_depend_on_the_one_before() -> None:
    blocks = plan(
        "Launch the company podcast",
        "1. Choose a name\n2. Record three pilot episodes\n3. Publish the feed",
        "medium",
    )
    assert [block.depends_on for block in blocks] == [(), (1,), (2,), (3,), (4,)]


def test_steps_without_an_order_depend_on_what_they_have_in_common_alone() -> None:
    blocks = plan(
        "Refactor the invoice importer",
        "Split the parser. Add type hints. Write tests for the parser.",
        "medium",
    )
    assert [block.depends_on for block in blocks] == [(), (1,), (1,), (2,), (3, 4)]


def test_a_step_takes_as_long_as_the_goal_says() -> None:
    blocks = plan("Learn chess", "- openings for 30 minutes\n- endgames for 1.5 hours", "low")
    assert [block.minutes for block in blocks[1:3]] == [30, 90]


def test_conditions_of_the_goal_are_named_where_the_work_is_checked() -> None:
    *_, last = plan("Reduce page load time", "It must not cost more than 50 euros.", "low")
    assert "It must not cost more than 50 euros" in last.description


def test_complexity_decides_how_many_blocks_there_are_and_how_long() -> None:
    low, medium, high = (plan("Write a handbook on bees", "", level) for level in LEVELS)
    assert [len(low), len(medium), len(high)] == [3, 5, 7]
    assert (
        sum(b.minutes for b in low) < sum(b.minutes for b in medium) < sum(b.minutes for b in high)
    )


@pytest.mark.parametrize(
    ("goal", "thing"),
    [
        ("I want to start a vegetable garden behind the house", "the vegetable garden"),
        ("Learn how to cook Italian food", "cooking Italian food"),
        ("My goal is to read more books by the end of the year", "reading more books"),
        ("Project Apollo: Build the reporting dashboard", "the reporting dashboard"),
        ("Prepare for the driving theory exam next month", "the driving theory exam"),
        ("Plan and host a street festival", "the street festival"),
        ("Running faster", "running faster"),
        ("Привести в порядок гараж", '"Привести в порядок гараж"'),
        ("学习中文", '"学习中文"'),
    ],
)
def test_every_block_names_the_thing_of_the_goal(goal: str, thing: str) -> None:
    assert all(thing in title for title in titles(goal))


def test_a_general_name_is_told_apart_by_what_the_goal_says_of_it() -> None:
    slow_api = titles("Improve performance", "The API of the orders is slow.")
    assert all("performance (API of the orders)" in title for title in slow_api)


def test_the_same_goal_has_the_same_plan() -> None:
    assert all(plan(*goal, "high") == plan(*goal, "high") for goal in GOALS)


@pytest.mark.parametrize("nothing", ["...", "to be or not to be", "\u200b", "and then?"])
def test_a_goal_without_any_word_of_its_own_is_refused(nothing: str) -> None:
    with pytest.raises(ValueError, match="name nothing"):
        plan(nothing, "", "low")


WORDS = st.sampled_from(
    [
        "build",
        "the",
        "a",
        "my",
        "to",
        "write",
        "run",
        "and,",
        "then",
        "of",
        "test:",
        "-",
        "1.",
        "must",
        "(by",
        "March)",
        "every",
        "30",
        "minutes",
        "été",
        "\u200d",
        "plan",
        "for;",
        "better",
        "how",
        "x",
    ]
)
TEXT = st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=40).map(" ".join))


@given(title=TEXT, description=TEXT, level=st.sampled_from(LEVELS))
def test_whatever_the_words_a_plan_keeps_the_rules(
    title: str, description: str, level: str
) -> None:
    try:
        blocks = plan(title, description, level)
    except ValueError:
        return
    assert fault(blocks, own_words(title, description)) is None


@pytest.mark.parametrize(
    "hostile",
    [" " * 20_000, "(" * 20_000, "x" * 20_000, "by the next " * 1_600, "- a\n" * 5_000,
     "up to " * 3_300, "and write the " * 1_400, "1." * 10_000, "a, " * 6_600, ": " * 10_000],
)  # fmt: skip
def test_a_long_text_is_read_in_little_time(hostile: str) -> None:
    began = process_time()
    plan("Tidy the shed", hostile, "high")
    assert process_time() - began < 0.5


WORDS_OF_GOAL = own_words("Build a bird house", "with Ada")
GOOD = (
    Block("Sketch the bird house", "", SHORTEST),
    Block("Saw the boards of the house", "", 30, (1,)),
    Block("Paint the bird house with Ada", "", LONGEST, (2,)),
)


@pytest.mark.parametrize(
    ("blocks", "wrong"),
    [
        (GOOD[:2], "3 to 7 blocks"),
        (GOOD + GOOD + GOOD[:2], "3 to 7 blocks"),
        ((*GOOD[:2], Block("SKETCH the bird house", "", 30, (1,))), "the title of an earlier one"),
        ((*GOOD[:2], Block("Paint it", "", 30, (2,))), "nothing of the goal's own"),
        ((*GOOD[:2], Block("Build it", "", 30, (2,))), "nothing of the goal's own"),
        ((*GOOD[:2], Block("Paint the house", "", 14, (2,))), "15 to 90 minutes"),
        ((*GOOD[:2], Block("Paint the house", "", 91, (2,))), "15 to 90 minutes"),
        ((*GOOD[:2], Block("Paint the house", "", 30, (3,))), "earlier blocks"),
        ((*GOOD[:2], Block("Paint the house", "", 30, (0,))), "earlier blocks"),
        ((*GOOD[:2], Block("Paint the house", "", 30)), "depends on nothing"),
        ((*GOOD[:2], Block("Paint the house\n", "", 30, (2,))), "do not print"),
        ((*GOOD[:2], Block(" ", "", 30, (2,))), "1 to 200 characters"),
        ((*GOOD[:2], Block("Paint the house", "x" * 2001, 30, (2,))), "longer than 2000"),
    ],
)
def test_each_rule_of_a_plan_is_checked(blocks: tuple[Block, ...], wrong: str) -> None:
    assert fault(GOOD, WORDS_OF_GOAL) is None
    assert wrong in str(fault(blocks, WORDS_OF_GOAL))
