"""What the admin pages of every app share: read-only pages, links, times in words, filters.

What the program writes is read only in the admin: a row changed behind the server's back would say
something that no open connection knows. Pages are bounded, and a list's number of queries does not
grow with its rows.
"""

from django.contrib import admin

admin.site.site_header = admin.site.site_title = "Ovara"
