"""The page at `/ui`: what the gateway does now, live, in a browser.

`recorder` observes the calls, `document` puts together what is shown, `feed` makes one document a
second for all viewers, and `routes` serves it with the files in `static`, which show it.
"""

from .access import PageAccess as PageAccess
from .document import TenantReading as TenantReading
from .feed import GatewayView as GatewayView
from .recorder import CallRecorder as CallRecorder
from .routes import page_routes as page_routes
from .sessions import PageSessions as PageSessions
from .sessions import TooManyAttempts as TooManyAttempts
