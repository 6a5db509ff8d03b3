package android.widget;

public class TextView extends android.view.View {
    private CharSequence text = "";

    public final void setText(CharSequence text) { this.text = text; }

    public final void setText(int id) { text = "text " + id; }

    public CharSequence getText() { return text; }
}
