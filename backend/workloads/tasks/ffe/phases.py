"""The phases that each kind of work goes through.

Of the seven of a kind a plan takes as many as it has room for, those of the lowest rank: 1 and 5
come before the work itself, 3 and 6 after it, 2, 4 and 7 are the work. Where a goal names its own
parts, they take the place of 2, 4 and 7.
"""

from dataclasses import dataclass
from typing import Final

from backend.workloads.tasks.ffe.lexicon import Kind

BEFORE: Final = frozenset({1, 5})
AFTER: Final = frozenset({3, 6})
WEIGHTS: Final = {1: 0.7, 2: 1.2, 3: 0.8, 4: 1.0, 5: 0.8, 6: 0.7, 7: 1.1}
"""How long a phase takes beside a usual block."""


@dataclass(frozen=True, slots=True)
class Phase:
    """``{}`` in the title stands for the goal's own thing; ``done`` says when it is finished."""

    rank: int
    title: str
    done: str


def phases(kind: Kind, room: int) -> list[Phase]:
    """As many as there is room for, in the order of the work."""
    return [phase for phase in _PHASES[kind] if phase.rank <= room]


_PHASES: Final = {
    Kind.WRITE: (
        Phase(1, "Note who reads {} and what for", "Three sentences say who reads it and why."),
        Phase(5, "Gather the material for {}", "What it rests on lies in one place."),
        Phase(4, "Outline {}", "Each section has a heading and one sentence."),
        Phase(2, "Draft {}", "Every section has text, however rough."),
        Phase(7, "Fill the gaps in {}", "No section is missing or only noted."),
        Phase(3, "Revise {} against its purpose", "A reader's questions have answers in it."),
        Phase(6, "Proofread and hand over {}", "It is where its readers find it."),
    ),
    Kind.BUILD: (
        Phase(1, "List what {} must do", "The list is short and each line can be tried out."),
        Phase(5, "Sketch the parts of {}", "Each part has a name and a task."),
        Phase(4, "Lay out what is needed to make {}", "Tools and material are ready to use."),
        Phase(2, "Make a first working version of {}", "It does the first thing on the list."),
        Phase(7, "Add what is missing from {}", "It does everything on the list."),
        Phase(3, "Try out {} point by point", "Each line of the list was tried; faults are noted."),
        Phase(6, "Mend what the trial of {} showed", "The trial shows no more of these faults."),
    ),
    Kind.IMPROVE: (
        Phase(1, "Measure {} as it is today", "A figure, and how it was taken, is written down."),
        Phase(5, "List what bears on {}", "The causes stand in the order of their weight."),
        Phase(
            4, "Choose the first change to {}", "One change is chosen, with what it should bring."
        ),
        Phase(2, "Make the first change to {}", "The change is in effect."),
        Phase(7, "Make a second change to {}", "The next cause on the list is dealt with."),
        Phase(3, "Measure {} again and compare", "Both figures stand side by side."),
        Phase(6, "Write down what helped with {}", "What stays changed is decided and noted."),
    ),
    Kind.LEARN: (
        Phase(
            1, "Write down what you know of {} so far", "What you know and want to know is noted."
        ),
        Phase(5, "Choose the sources for {}", "Two sources are at hand."),
        Phase(
            2, "Work through a first part of {}", "You can say in your own words what was in it."
        ),
        Phase(4, "Practise {} without looking it up", "You did three exercises from memory."),
        Phase(7, "Work through the next part of {}", "You can tell it apart from the first part."),
        Phase(3, "Test yourself on {}", "Right and wrong answers are counted."),
        Phase(6, "Note the gaps in {} and when to close them", "Each gap has a date."),
    ),
    Kind.ORGANISE: (
        Phase(
            1, "Settle time, place and people for {}", "When, where and with whom is written down."
        ),
        Phase(5, "Set a budget for {}", "A sum is set, and who pays it."),
        Phase(4, "List everything that {} needs", "Each thing on the list has somebody's name."),
        Phase(
            2, "Secure what {} cannot do without", "The thing that everything hangs on is certain."
        ),
        Phase(7, "Arrange the rest for {}", "Nothing on the list is open."),
        Phase(3, "Walk through {} from start to end", "What would go wrong today is noted."),
        Phase(6, "Close the gaps found in {}", "The walk-through has no open point."),
    ),
    Kind.RESTORE: (
        Phase(1, "Take stock of {}", "What is there, and in what state, is listed."),
        Phase(5, "Get together what {} calls for", "Tools and materials are at hand."),
        Phase(4, "Divide {} into portions", "Each portion fits one sitting."),
        Phase(2, "Do the first portion of {}", "One portion is as it should be."),
        Phase(7, "Do the next portion of {}", "Two portions are as they should be."),
        Phase(3, "Inspect {} and list what is left", "What is left is listed, or nothing is."),
        Phase(6, "Finish what is left of {}", "The list is empty."),
    ),
    Kind.FIX: (
        Phase(1, "Describe when {} shows, and how", "Somebody else can bring it about."),
        Phase(5, "List what may cause {}", "The likeliest cause is first."),
        Phase(4, "Narrow down the cause of {}", "One cause is left, and it is certain."),
        Phase(2, "Remove the cause of {}", "What brought it about does so no more."),
        Phase(7, "Look for the like of {} elsewhere", "Each such place is noted."),
        Phase(3, "Check that {} is gone", "What was described does not show any more."),
        Phase(6, "Write down what caused {}", "The cause and the cure are one paragraph."),
    ),
    Kind.LAUNCH: (
        Phase(1, "List what must be ready for {}", "Each point can be answered yes or no."),
        Phase(5, "Write down the way back for {}", "How to undo each step is noted."),
        Phase(4, "Try {} on a small scale", "It worked once, and what did not is noted."),
        Phase(2, "Bring {} to its first users", "Somebody uses it."),
        Phase(7, "Bring {} to everybody", "Nobody it is meant for is left out."),
        Phase(3, "Check how {} does in use", "What was looked at, and what it showed, is noted."),
        Phase(6, "Mend what {} showed in use", "The check shows no more of these faults."),
    ),
    Kind.MOVE: (
        Phase(1, "List every part of {} that is affected", "No part is missing from the list."),
        Phase(5, "Write down the way back for {}", "Each step can be undone, and how is noted."),
        Phase(4, "Rehearse the riskiest step for {}", "It worked once where it harms nobody."),
        Phase(2, "Carry out the first step for {}", "The first part on the list is done."),
        Phase(7, "Carry out the next step for {}", "The second part on the list is done."),
        Phase(3, "Check {} after the change", "Each part on the list was looked at."),
        Phase(6, "Clear up what {} leaves behind", "Nothing of the old state is in the way."),
    ),
    Kind.CHOOSE: (
        Phase(
            1, "Set the criteria for {}", "Each criterion can be answered yes or no, or counted."
        ),
        Phase(5, "Collect the candidates for {}", "There are at least three."),
        Phase(4, "Look closely at the best three for {}", "Each has a note on every criterion."),
        Phase(2, "Compare what was found for {}", "A table shows candidates and criteria."),
        Phase(7, "Ask somebody who knows about {}", "One answer from experience is noted."),
        Phase(3, "Decide on {} and say why", "The decision and its reason are one paragraph."),
        Phase(6, "Act on the decision about {}", "The first step that follows from it is done."),
    ),
    Kind.TRAIN: (
        Phase(1, "Record where you stand with {}", "Today's figure is written down."),
        Phase(5, "Set weekly steps towards {}", "Each of the next four weeks has a figure."),
        Phase(4, "Prepare what {} needs each day", "Nothing has to be looked for tomorrow."),
        Phase(2, "Take the first step towards {}", "It is taken, and how it went is noted."),
        Phase(7, "Take the second step towards {}", "It is taken, and how it went is noted."),
        Phase(3, "Compare today's record of {} with the start", "Both figures stand side by side."),
        Phase(6, "Adjust the weekly steps for {}", "The coming weeks follow from the record."),
    ),
    Kind.PRESENT: (
        Phase(1, "Write down what {} should lead to", "One sentence says what changes after it."),
        Phase(5, "Gather the facts for {}", "Each fact has its source."),
        Phase(2, "Prepare the points for {}", "There are at most five, in order."),
        Phase(4, "Rehearse {} aloud", "You went through it once by the clock."),
        Phase(7, "Prepare answers to questions about {}", "Five likely questions have an answer."),
        Phase(3, "Note what came of {}", "What was agreed, and who does it, is written down."),
        Phase(6, "Follow up on {}", "What was promised is done or has a date."),
    ),
    Kind.DO: (
        Phase(1, "Write down when {} counts as finished", "One sentence that can be checked."),
        Phase(5, "List what {} calls for", "What is missing is known."),
        Phase(4, "Divide {} into portions", "Each portion fits one sitting."),
        Phase(2, "Do the first portion of {}", "It can be shown to somebody."),
        Phase(7, "Do the next portion of {}", "It can be shown to somebody."),
        Phase(
            3, "Check {} against what finished means", "What is missing is listed, or nothing is."
        ),
        Phase(6, "Close what is still open in {}", "The list is empty."),
    ),
}

NAMING: Final = {
    Kind.WRITE: "Write the part on {}",
    Kind.BUILD: "Work out {}",
    Kind.LAUNCH: "Get ready {}",
    Kind.LEARN: "Study {}",
    Kind.ORGANISE: "Arrange {}",
    Kind.MOVE: "Deal with {}",
    Kind.CHOOSE: "Look into {}",
    Kind.PRESENT: "Prepare {}",
}
"""What to do with a part that the goal names without a verb."""
NAMED_ONLY: Final = "Work on {}"
