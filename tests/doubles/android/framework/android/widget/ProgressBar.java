package android.widget;

public class ProgressBar extends android.view.View {
    public void setProgress(int progress) { }

    public int getProgress() { return 0; }
}
