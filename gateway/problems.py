"""What engines complain of, for the page of engines to say in its reader's language.

Engines know no Django, and /v1 speaks English: they raise English sentences, which are translated where they are shown.
"""

from django.utils.translation import gettext_noop

PROBLEMS = (
    gettext_noop("The engine cannot be reached."),
    gettext_noop("The engine closed the connection without an answer."),
    gettext_noop("The engine's answer broke off."),
    gettext_noop("The engine's key cannot be read any more. An operator has to enter it again."),
    gettext_noop("The engine sent a compressed answer that nobody asked for."),
    gettext_noop("The engine answered with an error."),
    gettext_noop("The engine answered with something other than an answer."),
    gettext_noop("The engine's answer is too long."),
    gettext_noop("The engine's answer is not JSON."),
    gettext_noop("The engine's list of models cannot be read."),
    gettext_noop("The engine did not begin to answer in time."),
    gettext_noop("The engine did not answer in time."),
    gettext_noop("The engine stopped answering."),
    gettext_noop("The engine took too long over the whole answer."),
    gettext_noop("The engine is busy. Try again later."),
    gettext_noop("The engine is not ready. Try again later."),
    gettext_noop("The engine does not accept this gateway's key."),
    gettext_noop("The engine does not serve this model any more."),
    gettext_noop("The engine does not accept this request."),
    gettext_noop("The engine's counters cannot be read."),
    gettext_noop("The engine's page of metrics has no counter of tokens that Tertulia knows."),
    gettext_noop("The engine does not show its counters to this gateway's key."),
    gettext_noop("The engine shows no counters."),
    gettext_noop("The engine shows no counters. llama.cpp has to be started with --metrics."),
    gettext_noop("llama.cpp in router mode counts for each model apart, which is not read."),
)
