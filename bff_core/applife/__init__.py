"""The life of apps in people's hands: version gate, remote configuration, feature flags, push tokens."""

from .push import PushProvider, PushToken, PushTokens, TokenGone
from .routes import mount
from .service import AppLife, AppState, app_state

__all__ = ["AppLife", "AppState", "PushProvider", "PushToken", "PushTokens", "TokenGone", "app_state", "mount"]
