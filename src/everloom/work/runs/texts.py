"""What runs say of ends that are nobody else's words."""

from everloom.objects.steps import StepError

FILTERED = "The model's answer was stopped by its content filter."
OUR_FAULT = "The server had an error while it worked on this run. The operator finds it in the server's log."
CUT_CALL = StepError(code="server_error", message="The answer reached its token limit in the middle of a call.")
