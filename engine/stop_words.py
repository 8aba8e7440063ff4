"""English function words that say nothing about a person, for Persona F1 and for the memory's retrieval.

The closed word classes only (articles, pronouns, auxiliaries, prepositions, conjunctions, particles, question words and
the adverbs of degree and place that go with them), in lower case, with the contractions of each. Knows nothing else.
"""

from __future__ import annotations

_ARTICLES_AND_DETERMINERS = """
a an the this that these those each every either neither some any no none all both half many much more most few fewer
fewest less least several enough such other others another same own
"""

_PRONOUNS = """
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves one ones oneself someone somebody something anyone anybody anything
everyone everybody everything nobody nothing
"""

_AUXILIARIES = """
am is are was were be been being do does did doing done have has had having can could may might must shall should will
would ought cannot let lets
"""

_PREPOSITIONS = """
about above across after against along amid among around as at before behind below beneath beside besides between beyond
by despite down during except for from in inside into like near of off on onto out outside over past per since through
throughout to toward towards under underneath until till up upon via with within without
"""

_CONJUNCTIONS = """
and or but nor so yet if unless because although though while whereas whether than then once therefore however thus
hence otherwise instead
"""

_QUESTION_WORDS = """
who whom whose which what when where why how whoever whatever whichever whenever wherever however
"""

_ADVERBS_AND_PARTICLES = """
not never ever always also too very quite rather just only even still already again almost nearly here there now soon
perhaps maybe else yes yeah ok okay oh well please
"""

_CONTRACTIONS = """
i'm i've i'd i'll you're you've you'd you'll he's he'd he'll she's she'd she'll it's it'd it'll we're we've we'd we'll
they're they've they'd they'll that's that'd that'll this's there's there'd there'll here's what's what're what'd
what'll who's who'd who'll who've where's where'd when's why's how's how'd let's isn't aren't wasn't weren't don't
doesn't didn't haven't hasn't hadn't can't couldn't mayn't mightn't mustn't shan't shouldn't won't wouldn't needn't
ain't could've should've would've might've must've y'all someone's everyone's one's
"""

STOP_WORDS: frozenset[str] = frozenset(
    " ".join(
        (
            _ARTICLES_AND_DETERMINERS,
            _PRONOUNS,
            _AUXILIARIES,
            _PREPOSITIONS,
            _CONJUNCTIONS,
            _QUESTION_WORDS,
            _ADVERBS_AND_PARTICLES,
            _CONTRACTIONS,
        )
    ).split()
)
