"""The record that a physicist signs: what was asked, what was looked at, numbers, and a decision.

`record` (content, seal and state), `locking` (hashes), `numbers` (of reports, beside the site's
tolerances), `page` (HTML).
After the request and report of AAPM's Task Group 132 (Brock et al., Med Phys 44:e43, 2017).
"""
