"""Visualization of clips and scores: drawing, overlays, contact sheets and videos."""
