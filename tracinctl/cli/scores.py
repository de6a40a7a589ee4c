"""What the commands about score files share: finding and opening them, and words for what is in them."""

from __future__ import annotations
