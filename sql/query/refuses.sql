{#- Whether an extractor refuses a frame size; each limit is a column of the table columns, or a value. NULL is
    no limit. #}
coalesce(
    least(width, height) < {{ shorter_side }}
    OR greatest(width, height) < {{ longer_side }}
    OR width + height > {{ both_sides }}
    OR greatest(width, height) > {{ aspect }} * least(width, height) + {{ slack }}
    OR ({{ even_height }} AND height % 2 = 1), false)
