"""The shop in the admin."""

from django.contrib import admin

from apps.shop.models import Notification, Order, OrderItem, Product, Supplier


class OrderItemInline(admin.TabularInline):
    model = OrderItem
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["id", "user", "status", "paid", "placed_at"]
    list_filter = ["status", "paid"]
    inlines = [OrderItemInline]


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["sku", "name", "price", "stock"]


admin.site.register([Notification, Supplier])
