"""Pictures of records: matplotlib drawings as inline SVG, images as small PNG data URIs."""
