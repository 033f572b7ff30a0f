"""The words that the planner knows: verbs by the kind of work, and words that name nothing.

English alone. A goal in another language is planned around its own words, with nothing read out of
them.
"""

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The kind of work that a goal is: it decides the phases."""

    WRITE = "write"
    BUILD = "build"
    IMPROVE = "improve"
    LEARN = "learn"
    ORGANISE = "organise"
    RESTORE = "restore"
    FIX = "fix"
    LAUNCH = "launch"
    MOVE = "move"
    CHOOSE = "choose"
    TRAIN = "train"
    PRESENT = "present"
    DO = "do"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VERBS: Final = {
    Kind.WRITE: "write draft edit proofread publish author blog document translate summarise"
    " summarize compose revise rewrite describe",
    Kind.BUILD: "build create develop design implement code program make construct prototype"
    " sketch model craft sew knit assemble add automate integrate configure install set connect"
    " generate deliver produce invent draw record film print extend",
    Kind.IMPROVE: "improve reduce increase optimise optimize speed refactor redesign rework"
    " restructure lower raise cut boost strengthen simplify stabilise stabilize tune shorten"
    " accelerate minimise minimize maximise maximize enhance harden secure double halve grow",
    Kind.LEARN: "learn study master understand practise practice read memorise memorize revise"
    " explore",
    Kind.ORGANISE: "organise organize plan host arrange prepare schedule celebrate hold coordinate"
    " invite book reserve budget cook bake serve",
    Kind.LAUNCH: "launch release deploy ship",
    Kind.RESTORE: "clean fix solve resolve debug tidy sort declutter renovate repair paint restore"
    " refurbish label archive clear sand varnish wash catalogue catalog digitise digitize plant"
    " dig weed prune",
    Kind.MOVE: "move migrate replace upgrade convert transfer switch port relocate import export"
    " dump roll update rename merge split open close remove delete",
    Kind.CHOOSE: "choose decide find hire buy select compare research investigate evaluate pick"
    " recruit assess analyse analyze review audit check test verify measure survey rent order sell"
    " acquire identify collect gather list rank",
    Kind.TRAIN: "run exercise lose gain quit stop save meditate sleep eat swim cycle walk train"
    " lift stretch drink hike climb earn sit wake spend become be teach help persuade convince",
    Kind.PRESENT: "present negotiate interview apply pitch meet talk explain demonstrate moderate"
    " ask call contact email promote discuss rehearse visit",
    Kind.DO: "do get fill tag respond wrap start begin finish complete handle manage file submit"
    " pay sign register renew achieve reach establish introduce define agree send share map back"
    " bring give take put work support look think focus deal keep maintain change turn cover track"
    " monitor",
}

VERBS: Final = {verb: kind for kind, verbs in reversed(_VERBS.items()) for verb in verbs.split()}

ALSO_NOUNS: Final = _words(
    "plan test report design search release study review research visit change update document"
    " list map paint support host order budget schedule measure record book walk run train cook"
    " model draft blog program code label archive plant print export import rank audit check work"
    " look focus deal track cover help share file sign survey call email pitch talk practice"
    " exercise sleep drink hike climb cut boost fix speed switch transfer port split dump sketch"
    " film start stop open close sand cycle turn set master sort grow guide contact monitor"
    " clean double prototype craft"
)
"""Verbs that begin a noun phrase as often: read as verbs where what follows leaves no doubt."""

_NOUNS: Final = {
    Kind.WRITE: "report essay thesis dissertation book novel article blog paper memo manual guide"
    " documentation newsletter story speech letter proposal handbook chapter post poem cv resume"
    " strategy roadmap policy agenda",
    Kind.BUILD: "app application website site tool api script library game robot plugin dashboard"
    " service prototype shed table shelf bot feature pipeline parser",
    Kind.ORGANISE: "party wedding conference trip holiday vacation meetup workshop event picnic"
    " retreat reunion festival dinner birthday exhibition",
    Kind.RESTORE: "garage attic cellar basement kitchen garden bathroom fence wardrobe desk",
    Kind.FIX: "bug error issue problem crash leak fault defect outage failure conflict",
    Kind.LEARN: "exam certification language vocabulary grammar course",
    Kind.TRAIN: "marathon triathlon habit diet kg kilos pounds savings fitness sleep",
    Kind.PRESENT: "presentation pitch negotiation interview lecture talk webinar",
    Kind.CHOOSE: "apartment flat supplier vendor insurance laptop car",
}

NOUNS: Final = {noun: kind for kind, nouns in _NOUNS.items() for noun in nouns.split()}

LOOSE_VERBS: Final = _words(
    "do make start begin prepare finish complete get create handle manage deliver work take give"
    " achieve reach plan produce organise organize fix solve resolve debug"
)
"""Verbs that say less of the kind of work than what they are done to."""

GENERIC: Final = _words(
    "project app application website site system process skill skills health report plan"
    " documentation document docs test tests thing things code quality performance work job task"
    " tasks goal goals program programme tool tools service product team business company data"
    " presentation thesis essay book blog article paper party trip exam course study event life"
    " productivity workflow quarterly annual monthly weekly daily new old better first second next"
    " good great best own big small whole main current final"
    " some several many more less better faster version part parts"
    " stuff something everything anything it them this that one two three others results result"
    " improvement improvements management solution research list review software script api"
)
"""Words that many goals have: alone they do not tell one goal from another."""

DETERMINERS: Final = _words(
    "the a an my our your his her its their this these those all every each any some"
)

PREPOSITIONS: Final = _words(
    "of for about on to into from by with in at using via through over under between among"
    " towards toward against within without across onto off up out as per before after during"
    " until till near"
)

PARTICLES: Final = _words("on for at about with in")
"""After a verb they belong to it: what one prepares for is the exam."""

STOP: Final = (
    DETERMINERS
    | PREPOSITIONS
    | _words(
        "and or but nor so if then than that which who whose where when while because since"
        " although though not no never i we you they he she it me us them mine am is are was were"
        " be been being have has had will would shall should must may might can could want wants"
        " need needs wish hope please also just very really too again now soon today tomorrow"
        " there here how what why let lets don't"
    )
)

MONTHS: Final = _words(
    "january february march april may june july august september october november december"
)
DAYS: Final = _words("monday tuesday wednesday thursday friday saturday sunday")
SEASONS: Final = _words("spring summer autumn fall winter christmas easter")
SPANS: Final = _words("minute hour day week month quarter year")
NUMBERS: Final = _words("one two three four five six seven eight nine ten twelve")


def base_of(word: str) -> str | None:
    """The known verb that ``word``, in lower case, is: in its base form, or its -ing form."""
    if word in VERBS:
        return word
    if not word.endswith("ing") or len(word) < len("doing"):
        return None
    stem = word.removesuffix("ing")
    candidates = (stem, f"{stem}e", stem[:-1] if stem[-1] == stem[-2] else stem)
    return next((found for found in candidates if found in VERBS), None)


_DOUBLED: Final = _words("run cut get set stop quit swim plan sit dig put hit win map ship begin")


def gerund(verb: str) -> str:
    """The -ing form of a verb in its base form."""
    if verb in _DOUBLED:
        return f"{verb}{verb[-1]}ing"
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    silent = len(verb) > len("be") and verb.endswith("e") and not verb.endswith(("ee", "ye", "oe"))
    return f"{verb[:-1] if silent else verb}ing"
